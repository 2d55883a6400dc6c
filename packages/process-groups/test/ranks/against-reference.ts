import {
  allGather,
  allReduce,
  allToAll,
  broadcast,
  exchange,
  type ParallelContext,
  type ProcessGroup,
  type ReduceOp,
  reduceScatter,
} from '@megatron-ts/process-groups';
import { type AnyTensor, type DType, dtypes, empty, scope } from '@megatron-ts/tensor';
import { firstDifference, inputOf, read, serialReduction, type Values, valuesIn } from '../serial-reference.ts';

/** One collective of one dtype and size, and what was wrong with its result. */
export interface Verdict {
  readonly name: string;
  readonly fault: string | undefined;
}

const ops: readonly ReduceOp[] = ['sum', 'avg', 'max', 'min', 'product'];

/** Reductions of a dtype: on devices without averages of bytes, whose sums NCCL lets overflow. */
export function opsOn({ device }: ParallelContext, dtype: DType): readonly ReduceOp[] {
  return device !== 'cpu' && dtype === 'u8' ? ops.filter((op) => op !== 'avg') : ops;
}

const sizes = [1, 5, 1027];
/** Larger than what a rank can stage at once, and no multiple of any chunk. */
const beyondStaging = 300_007;

/** What was compared so far. */
export class Verdicts {
  readonly all: Verdict[] = [];

  expect(name: string, f: () => AnyTensor, expected: Values): void {
    const fault = scope(() => firstDifference(read(f()), expected));
    this.all.push({ name, fault });
  }
}

function rowsOf(values: Values, first: number, count: number, width: number): Values {
  return values.slice(first * width, (first + count) * width);
}

/** What each rank of a group puts in. */
export function inputsOf(group: ProcessGroup, count: number, dtype: DType): Values[] {
  return group.ranks.map((rank) => valuesIn(rank, count, dtype));
}

/** allReduce and reduceScatter. */
export function reductions(ctx: ParallelContext): Verdict[] {
  const { world } = ctx;
  const verdicts = new Verdicts();
  const own = world.ranks[world.rank] as number;
  const check = (op: ReduceOp, dtype: DType, count: number) => {
    const inputs = inputsOf(world, count * world.size, dtype);
    const whole = serialReduction(inputs, op, dtype);
    const name = `${op} ${dtype}[${count * world.size}]`;
    verdicts.expect(`allReduce ${name}`, () => allReduce(inputOf(own, [count * world.size], dtype), { group: world, op }).wait(), whole);
    const mine = rowsOf(whole, world.rank * count, count, 1);
    verdicts.expect(
      `reduceScatter ${name}`,
      () => reduceScatter(inputOf(own, [count * world.size], dtype), { group: world, op }).wait(),
      mine,
    );
  };
  for (const dtype of dtypes) for (const op of opsOn(ctx, dtype)) for (const count of sizes) check(op, dtype, count);
  for (const count of sizes)
    verdicts.expect(
      `allReduce odd f32[${count}]`,
      () => allReduce(inputOf(own, [count], 'f32'), { group: world }).wait(),
      serialReduction(inputsOf(world, count, 'f32'), 'sum', 'f32'),
    );
  verdicts.expect(
    `allReduce sum f32[${beyondStaging}]`,
    () => allReduce(inputOf(own, [beyondStaging], 'f32'), { group: world }).wait(),
    serialReduction(inputsOf(world, beyondStaging, 'f32'), 'sum', 'f32'),
  );
  return verdicts.all;
}

/** allGather, broadcast, allToAll and exchange move bytes of any dtype. */
export function movements({ world }: ParallelContext): Verdict[] {
  const verdicts = new Verdicts();
  for (const dtype of dtypes) for (const rows of [1, 7, 1027]) checkMoves(verdicts, world, { dtype, rows });
  checkMoves(verdicts, world, { dtype: 'f64', rows: 30_011 }); // more bytes than are staged at once
  return verdicts.all;
}

function checkMoves(verdicts: Verdicts, world: ProcessGroup, { dtype, rows }: { readonly dtype: DType; readonly rows: number }): void {
  const width = 3;
  const own = world.ranks[world.rank] as number;
  const of = (rank: number, count = rows) => valuesIn(rank, count * width, dtype);
  const name = `${dtype}[${rows}, ${width}]`;
  verdicts.expect(
    `allGather ${name}`,
    () => allGather(inputOf(own, [rows, width], dtype), { group: world }).wait(),
    world.ranks.flatMap((rank) => [...of(rank)]),
  );
  for (const root of rows === 7 ? [0, 1, 2, 3] : [3])
    verdicts.expect(
      `broadcast ${name} from ${root}`,
      () => broadcast(inputOf(own, [rows, width], dtype), { group: world, root }).wait(),
      of(root),
    );
  verdicts.expect(
    `allToAll ${name} each`,
    () => allToAll(inputOf(own, [rows * world.size, width], dtype), { group: world }).wait(),
    world.ranks.flatMap((rank) => [...rowsOf(of(rank, rows * world.size), world.rank * rows, rows, width)]),
  );
  checkUnevenAllToAll(verdicts, world, { dtype, rows });
  checkRing(verdicts, world, { dtype, rows });
}

/** Rank s sends rank d (s + 2 d) % 4 times `rows` rows: some send nothing to some. */
function checkUnevenAllToAll(
  verdicts: Verdicts,
  world: ProcessGroup,
  { dtype, rows }: { readonly dtype: DType; readonly rows: number },
): void {
  const count = (from: number, to: number) => ((from + 2 * to) % 4) * rows;
  const all = [0, 1, 2, 3];
  const sum = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0);
  const sent = (from: number) => all.map((to) => count(from, to));
  const expected = all.flatMap((from) => {
    const values = valuesIn(from, sum(sent(from)), dtype);
    return [...rowsOf(values, sum(sent(from).slice(0, world.rank)), count(from, world.rank), 1)];
  });
  const options = { group: world, sendRows: sent(world.rank), receiveRows: all.map((from) => count(from, world.rank)) };
  verdicts.expect(
    `allToAll uneven ${dtype} x ${rows}`,
    () => allToAll(inputOf(world.rank, [sum(sent(world.rank))], dtype), options).wait(),
    expected,
  );
}

/** Every rank sends both neighbours two messages each, and receives as many, all posted at once. */
function checkRing(verdicts: Verdicts, world: ProcessGroup, { dtype, rows }: { readonly dtype: DType; readonly rows: number }): void {
  const neighbours = [(world.rank + 1) % 4, (world.rank + 3) % 4];
  const lengths = [rows, rows + 2];
  const places = neighbours.flatMap((peer) => lengths.map((length) => ({ peer, length })));
  const receives = places.map(({ peer, length }) => ({ peer, tensor: empty([length], dtype) as AnyTensor }));
  scope(() => {
    const sends = places.map(({ peer, length }) => ({ peer, tensor: inputOf(world.rank, [length], dtype) }));
    exchange({ group: world, sends, receives }).wait();
  });
  places.forEach(({ peer, length }, i) =>
    verdicts.expect(
      `exchange ${dtype}[${length}] from ${peer}`,
      () => receives[i]?.tensor.detach() as AnyTensor,
      valuesIn(peer, length, dtype),
    ),
  );
  for (const { tensor } of receives) tensor.dispose();
}
