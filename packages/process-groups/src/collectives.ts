import { ProcessGroupError, ShapeError } from '@megatron-ts/errors';
import { ambient, type AnyTensor, dtypeCode, engine, formatShape, type Placement, Tensor } from '@megatron-ts/tensor';
import type { ProcessGroup } from './process-group.ts';
import { Work } from './work.ts';

/** How values of several ranks become one. Sums run in rank order, so the bits depend on rank numbers only. */
export type ReduceOp = 'sum' | 'avg' | 'max' | 'min' | 'product';

const reduceCodes: Record<ReduceOp, number> = { sum: 0, avg: 1, max: 2, min: 3, product: 4 };

/** The group of a collective, and what errors call it. */
export interface CollectiveOptions {
  /** Ranks that take part; every one of them must call. */
  readonly group: ProcessGroup;
  /** What errors and recorders call this operation; the module path by default. */
  readonly label?: string;
}

/** The same with a reduction. */
export interface ReductionOptions extends CollectiveOptions {
  /** Reduction; sum by default. */
  readonly op?: ReduceOp;
}

const labels = new Map<string, number>();

function labelOf({ label }: CollectiveOptions): number {
  const text = label ?? ambient.frame?.module.path ?? '';
  if (text === '') return 0;
  let id = labels.get(text);
  if (id === undefined) labels.set(text, (id = engine.internLabel(text)));
  return id;
}

function like(source: AnyTensor, shape: readonly number[]): AnyTensor {
  const count = shape.reduce((product, extent) => product * extent, 1);
  return new Tensor(engine.empty(dtypeCode(source.dtype), count), {
    shape: [...shape],
    dtype: source.dtype,
    placement: source.placement as Placement,
  });
}

function firstExtent(op: string, t: AnyTensor, group: ProcessGroup): number {
  const [rows] = t.shape;
  if (rows === undefined) throw new ShapeError('WRONG_RANK', `${op} on group ${group.name}: a scalar has no first dim. Reshape it to [1].`);
  return rows;
}

/** Reduces `t` over the group, in place: afterwards it is the same on every rank. */
export function allReduce<T extends AnyTensor>(t: T, options: ReductionOptions): Work<T> {
  const { group, op = 'sum' } = options;
  if (group.size === 1) return new Work('allReduce', t);
  return new Work('allReduce', t, { id: engine.allReduce(group.id, t.handle, reduceCodes[op], labelOf(options)) });
}

/** The ranks' tensors one after another along dim 0: `[n, …]` becomes `[n · size, …]`. */
export function allGather(t: AnyTensor, options: CollectiveOptions): Work<AnyTensor> {
  const { group } = options;
  const rows = firstExtent('allGather', t, group);
  if (group.size === 1) return new Work('allGather', t);
  const out = like(t, [rows * group.size, ...t.shape.slice(1)]);
  return new Work('allGather', out, { id: engine.allGather(group.id, t.handle, out.handle, labelOf(options)) });
}

/**
 * Reduces over the group and leaves each rank its slice of dim 0: `[n, …]` becomes `[n / size, …]`.
 * @throws ShapeError SHAPE_MISMATCH when dim 0 does not divide
 */
export function reduceScatter(t: AnyTensor, options: ReductionOptions): Work<AnyTensor> {
  const { group, op = 'sum' } = options;
  const rows = firstExtent('reduceScatter', t, group);
  if (rows % group.size !== 0)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `reduceScatter on group ${group.name}: dim 0 of ${formatShape(t.shape)} is not divisible by the group size ${group.size}. Pad it to a multiple.`,
    );
  if (group.size === 1) return new Work('reduceScatter', t);
  const out = like(t, [rows / group.size, ...t.shape.slice(1)]);
  return new Work('reduceScatter', out, { id: engine.reduceScatter(group.id, t.handle, out.handle, reduceCodes[op], labelOf(options)) });
}

/** Which rank's values are sent. */
export interface BroadcastOptions extends CollectiveOptions {
  /** Rank in the group; 0 by default. */
  readonly root?: number;
}

/** Copies the root's values into every rank's `t`. @throws ProcessGroupError NOT_A_MEMBER */
export function broadcast<T extends AnyTensor>(t: T, options: BroadcastOptions): Work<T> {
  const { group, root = 0 } = options;
  requireMember('broadcast', group, root);
  if (group.size === 1) return new Work('broadcast', t);
  return new Work('broadcast', t, { id: engine.broadcast(group.id, t.handle, root, labelOf(options)) });
}

/** How many rows go where. */
export interface AllToAllOptions extends CollectiveOptions {
  /** Rows of dim 0 for each rank; even by default. */
  readonly sendRows?: readonly number[];
  /** Rows of dim 0 from each rank; even by default. */
  readonly receiveRows?: readonly number[];
}

/**
 * Sends each rank its rows of dim 0 and returns what came, in rank order.
 * @throws ShapeError SHAPE_MISMATCH when the rows do not add up or do not divide
 */
export function allToAll(t: AnyTensor, options: AllToAllOptions): Work<AnyTensor> {
  const { group } = options;
  const rows = firstExtent('allToAll', t, group);
  const even = () => Array.from({ length: group.size }, () => rows / group.size);
  const sendRows = options.sendRows ?? even();
  const receiveRows = options.receiveRows ?? even();
  const valid = (list: readonly number[]) => list.length === group.size && list.every((n) => Number.isInteger(n) && n >= 0);
  if (!valid(sendRows) || !valid(receiveRows) || sendRows.reduce((a, b) => a + b, 0) !== rows)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `allToAll on group ${group.name}: sendRows [${sendRows.join(', ')}] and receiveRows [${receiveRows.join(', ')}] do not split dim 0 of ${formatShape(t.shape)} over ${group.size} ranks. Give one whole number per rank, adding up to ${rows}.`,
    );
  if (group.size === 1) return new Work('allToAll', t);
  const width = t.shape.slice(1).reduce((product, extent) => product * extent, 1);
  const out = like(t, [receiveRows.reduce((a, b) => a + b, 0), ...t.shape.slice(1)]);
  const counts = (list: readonly number[]) => Uint32Array.from(list, (n) => n * width);
  return new Work('allToAll', out, {
    id: engine.allToAll(group.id, t.handle, out.handle, counts(sendRows), counts(receiveRows), labelOf(options)),
  });
}

/** One message of an exchange. */
export interface Message {
  /** Rank in the group. */
  readonly peer: number;
  /** What is sent, or where a receive is written: it must be contiguous memory of the peer's size and dtype. */
  readonly tensor: AnyTensor;
}

/** What goes out and what comes in. */
export interface ExchangeOptions extends CollectiveOptions {
  /** Messages to send. */
  readonly sends?: readonly Message[];
  /** Messages to receive, into their tensors. */
  readonly receives?: readonly Message[];
}

/**
 * Sends and receives posted together: none waits for another, so that pairs of ranks may both send first.
 * @throws ProcessGroupError NOT_A_MEMBER
 */
export function exchange(options: ExchangeOptions): Work<readonly AnyTensor[]> {
  const { group, sends = [], receives = [] } = options;
  for (const { peer } of [...sends, ...receives]) requireMember('exchange', group, peer);
  const received = receives.map(({ tensor }) => tensor);
  if (sends.length + receives.length === 0) return new Work('exchange', received);
  const pairs = (list: readonly Message[]) => Uint32Array.from(list.flatMap(({ peer, tensor }) => [peer, tensor.handle]));
  return new Work('exchange', received, { id: engine.exchange(group.id, pairs(sends), pairs(receives), labelOf(options)) });
}

/** Returns on every rank only after every rank has called it. */
export function barrier(options: CollectiveOptions): Work<undefined> {
  const { group } = options;
  if (group.size === 1) return new Work('barrier', undefined);
  return new Work('barrier', undefined, { id: engine.barrier(group.id, labelOf(options)) });
}

function requireMember(op: string, group: ProcessGroup, rank: number): void {
  if (Number.isInteger(rank) && rank >= 0 && rank < group.size && !(op === 'exchange' && rank === group.rank)) return;
  throw new ProcessGroupError(
    'NOT_A_MEMBER',
    `${op} on group ${group.name} [${group.ranks.join(', ')}]: rank ${rank} is not another member. Use ranks 0 to ${group.size - 1} of the group.`,
  );
}
