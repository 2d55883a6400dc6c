import { allGather, allReduce, type ProcessGroup, reduceScatter } from '@megatron-ts/process-groups';
import type { AnyTensor, PartialSum, Placement, Replicated, Sharded, Tensor } from '@megatron-ts/tensor';
import { copyInto, defineOp, empty, numel, permute, placementOver, reshape, samePlacement, slice, whereInModel } from '@megatron-ts/tensor';

/** Cut along the last dim: what lies between a column-parallel and a row-parallel layer. */
export type HiddenShard = Sharded<'tp', 'hidden'>;

/** Cut along the sequence: the residual stream under sequence parallelism. */
export type SequenceShard = Sharded<'tp', 'sequence'>;

/** Cut along the vocabulary: a word embedding, and the logits of a parallel head. */
export type VocabShard = Sharded<'tp', 'vocab'>;

type Step = (x: AnyTensor, tpGroup: ProcessGroup) => AnyTensor;

/** A mapping and its conjugate: what runs forward on activations and backward on their gradients. */
interface Conjugates {
  readonly name: string;
  readonly forward: Step;
  readonly backward: Step;
  readonly output: Placement;
}

/** One function from one placement to another; a group of one returns its input. */
export type Mapping<In extends Placement, Out extends Placement> = (x: Tensor<In>, tpGroup: ProcessGroup) => Tensor<Out>;

function mapping<In extends Placement, Out extends Placement>({ name, forward, backward, output }: Conjugates): Mapping<In, Out> {
  const apply = defineOp({
    name,
    forward: (x: AnyTensor, tpGroup: ProcessGroup) => ({ output: forward(x, tpGroup), saved: tpGroup }),
    backward: (grad, tpGroup) => [backward(grad, tpGroup), null],
    placement: (x) => placementOver('tp', x, output),
  });
  return (x, tpGroup) => (tpGroup.size === 1 ? (x as AnyTensor) : apply(x, tpGroup));
}

const identity: Step = (x) => x;

// Others may hold the input, so the sum goes into memory of its own.
const sumOverRanks: Step = (x, group) => {
  const sum = samePlacement(empty(x.shape, x.dtype), x);
  copyInto(sum, x);
  return allReduce(sum, { group, label: whereInModel('allReduce') }).wait();
};

const ownColumns: Step = (x, group) => {
  const width = (x.shape.at(-1) ?? 0) / group.size;
  return slice(x, -1, { start: group.rank * width, end: (group.rank + 1) * width }); // […, h / t]
};

const allColumns: Step = (x, group) => {
  const outer = x.shape.slice(0, -1);
  const [rows, width] = [numel(outer), x.shape.at(-1) ?? 0];
  const ranks = allGather(reshape(x, [rows, width]), { group, label: whereInModel('allGather') }).wait(); // [t · rows, h / t]
  const beside = permute(reshape(ranks, [group.size, rows, width]), [1, 0, 2]); // [rows, t, h / t]
  return reshape(beside, [...outer, group.size * width]); // […, h]
};

const ownRows: Step = (x, group) => {
  const rows = (x.shape[0] ?? 0) / group.size;
  return slice(x, 0, { start: group.rank * rows, end: (group.rank + 1) * rows }); // [s / t, …]
};

const allRows: Step = (x, group) => allGather(x, { group, label: whereInModel('allGather') }).wait();

const sumToOwnRows: Step = (x, group) => reduceScatter(x, { group, label: whereInModel('reduceScatter') }).wait();

/** Enters a tensor-parallel region: forward identity, backward all-reduce. @source Shoeybi et al. 2019, section 3 (f) */
export const copyToTensorParallelRegion = mapping<Replicated, Replicated>({
  name: 'copyToTensorParallelRegion',
  forward: identity,
  backward: sumOverRanks,
  output: 'replicated',
});

/** Leaves a tensor-parallel region: forward all-reduce, backward identity. @source Shoeybi et al. 2019, section 3 (g) */
export const reduceFromTensorParallelRegion = mapping<PartialSum<'tp'>, Replicated>({
  name: 'reduceFromTensorParallelRegion',
  forward: sumOverRanks,
  backward: identity,
  output: 'replicated',
});

/** Keeps this rank's part of the last dim, `[…, h]` to `[…, h / t]`; backward all-gather. @throws ShapeError when h does not divide */
export const scatterToTensorParallelRegion = mapping<Replicated, HiddenShard>({
  name: 'scatterToTensorParallelRegion',
  forward: ownColumns,
  backward: allColumns,
  output: 'hidden sharded over tp',
});

const gatherColumns = mapping<Placement, Replicated>({
  name: 'gatherFromTensorParallelRegion',
  forward: allColumns,
  backward: ownColumns,
  output: 'replicated',
});

/** Puts the ranks' parts of the last dim side by side, `[…, h / t]` to `[…, h]`; backward keeps this rank's part. */
export function gatherFromTensorParallelRegion<Dim extends string>(x: Tensor<Sharded<'tp', Dim>>, tpGroup: ProcessGroup): Tensor {
  return gatherColumns(x as AnyTensor, tpGroup);
}

/** Keeps this rank's part of the sequence, `[s, …]` to `[s / t, …]`; backward all-gather. @throws ShapeError when s does not divide */
export const scatterToSequenceParallelRegion = mapping<Replicated, SequenceShard>({
  name: 'scatterToSequenceParallelRegion',
  forward: ownRows,
  backward: allRows,
  output: 'sequence sharded over tp',
});

/**
 * Enters a tensor-parallel region from a cut sequence: forward all-gather, backward reduce-scatter.
 * @source Korthikanti et al. 2022, section 4.2.2 (g)
 */
export const gatherFromSequenceParallelRegion = mapping<SequenceShard, Replicated>({
  name: 'gatherFromSequenceParallelRegion',
  forward: allRows,
  backward: sumToOwnRows,
  output: 'replicated',
});

/**
 * Leaves a tensor-parallel region to a cut sequence: forward reduce-scatter, backward all-gather.
 * @source Korthikanti et al. 2022, section 4.2.2 (ḡ)
 */
export const reduceScatterToSequenceParallelRegion = mapping<PartialSum<'tp'>, SequenceShard>({
  name: 'reduceScatterToSequenceParallelRegion',
  forward: sumToOwnRows,
  backward: allRows,
  output: 'sequence sharded over tp',
});
