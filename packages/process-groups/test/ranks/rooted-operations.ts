import { gatherToRoot, type ParallelContext, type ProcessGroup, recv, reduce, scatter, send } from '@megatron-ts/process-groups';
import { type AnyTensor, type DType, dtypes, empty } from '@megatron-ts/tensor';
import { inputOf, serialReduction, valuesIn } from '../serial-reference.ts';
import { inputsOf, opsOn, type Verdict, Verdicts } from './against-reference.ts';

const width = 3;

/** One operation of a root in one dtype and size. */
interface Case {
  readonly dtype: DType;
  readonly rows: number;
  readonly root: number;
}

/** reduce, gatherToRoot, scatter and messages between two ranks, for every root. */
export function rootedOperations(ctx: ParallelContext): Verdict[] {
  const { world } = ctx;
  const verdicts = new Verdicts();
  const check = (given: Case) => {
    checkReduce(verdicts, ctx, given);
    checkGather(verdicts, world, given);
    checkScatter(verdicts, world, given);
    checkMessage(verdicts, world, given);
  };
  for (const dtype of dtypes) for (const rows of [1, 129]) for (const root of [0, 1, 2, 3]) check({ dtype, rows, root });
  check({ dtype: 'f64', rows: 30_011, root: 2 }); // more bytes than are staged at once
  return verdicts.all;
}

function nameOf({ dtype, rows, root }: Case): string {
  return `${dtype}[${rows}, ${width}] of ${root}`;
}

/** The others keep their values. */
function checkReduce(verdicts: Verdicts, ctx: ParallelContext, given: Case): void {
  const { world } = ctx;
  const { dtype, rows, root } = given;
  const inputs = inputsOf(world, rows * width, dtype);
  for (const op of rows === 1 ? opsOn(ctx, dtype) : (['sum'] as const)) {
    const expected = world.rank === root ? serialReduction(inputs, op, dtype) : (inputs[world.rank] ?? []);
    verdicts.expect(
      `reduce ${op} ${nameOf(given)}`,
      () => reduce(inputOf(world.rank, [rows, width], dtype), { group: world, op, root }).wait(),
      expected,
    );
  }
}

function checkGather(verdicts: Verdicts, world: ProcessGroup, given: Case): void {
  const { dtype, rows, root } = given;
  const own = () => inputOf(world.rank, [rows, width], dtype);
  const gathered = () => gatherToRoot(own(), { group: world, root }).wait();
  const expected = inputsOf(world, rows * width, dtype).flatMap((values) => [...values]);
  if (world.rank === root) verdicts.expect(`gatherToRoot ${nameOf(given)}`, () => gathered() as AnyTensor, expected);
  else verdicts.expect(`gatherToRoot ${nameOf(given)}`, () => gathered() ?? own(), valuesIn(world.rank, rows * width, dtype));
}

function checkScatter(verdicts: Verdicts, world: ProcessGroup, given: Case): void {
  const { dtype, rows, root } = given;
  const shape = [rows * world.size, width];
  const whole = () => (world.rank === root ? inputOf(root, [rows * world.size, width], dtype) : undefined);
  verdicts.expect(
    `scatter ${nameOf(given)}`,
    () => scatter(whole(), { group: world, root, shape, dtype }).wait(),
    valuesIn(root, rows * world.size * width, dtype).slice(world.rank * rows * width, (world.rank + 1) * rows * width),
  );
}

/** The root sends to the rank after it; the two others take no part. */
function checkMessage(verdicts: Verdicts, world: ProcessGroup, given: Case): void {
  const { dtype, rows, root } = given;
  const next = (root + 1) % world.size;
  const own = () => inputOf(world.rank, [rows, width], dtype);
  const moved = (): AnyTensor => {
    if (world.rank === root) return send(own(), { group: world, peer: next }).wait();
    return world.rank === next ? recv(empty([rows, width], dtype) as AnyTensor, { group: world, peer: root }).wait() : own();
  };
  verdicts.expect(`send ${nameOf(given)}`, moved, valuesIn(world.rank === next ? root : world.rank, rows * width, dtype));
}
