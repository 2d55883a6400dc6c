/**
 * Conjugate mappings and the layers between them.
 * @module @megatron-ts/tensor-parallel
 */
export { columnLinear } from './column-linear.ts';
export type { ColumnLinearOptions } from './column-linear.ts';
export { ColumnParallelLinear } from './column-parallel-linear.ts';
export type { ColumnOutput, ColumnParallelLinearOptions } from './column-parallel-linear.ts';
export { divideOverRanks, requireSizes } from './divide-over-ranks.ts';
export type { DividedSize } from './divide-over-ranks.ts';
export { firstOfSequence } from './first-of-sequence.ts';
export { gatherVocabulary } from './gather-vocabulary.ts';
export { requireDTypes } from './layer-dtypes.ts';
export type { LayerDTypes, ParamDType } from './layer-dtypes.ts';
export {
  copyToTensorParallelRegion,
  gatherFromSequenceParallelRegion,
  gatherFromTensorParallelRegion,
  reduceFromTensorParallelRegion,
  reduceScatterToSequenceParallelRegion,
  scatterToSequenceParallelRegion,
  scatterToTensorParallelRegion,
} from './mappings.ts';
export type { HiddenShard, Mapping, SequenceShard, VocabShard } from './mappings.ts';
export { tensorParallelRegion } from './region.ts';
export type { Region, Residual } from './region.ts';
export { RowParallelLinear } from './row-parallel-linear.ts';
export type { RowInput, RowParallelLinearOptions } from './row-parallel-linear.ts';
export { replicatedMeta, shardedMeta, shardPlacement, stackedMeta } from './shard-meta.ts';
export type { ShardedWeight, StackedPart } from './shard-meta.ts';
export { vocabParallelCrossEntropy, vocabParallelLinearCrossEntropy } from './vocab-parallel-cross-entropy.ts';
export type { VocabParallelCrossEntropyOptions, VocabParallelLinearCrossEntropyOptions } from './vocab-parallel-cross-entropy.ts';
export { VocabParallelEmbedding, vocabParallelWeight } from './vocab-parallel-embedding.ts';
export type { VocabParallelEmbeddingOptions, VocabParallelWeightOptions } from './vocab-parallel-embedding.ts';
export { vocabRange } from './vocab-range.ts';
export type { Vocabulary, VocabRange } from './vocab-range.ts';
