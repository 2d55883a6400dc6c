import { ShapeError } from '@megatron-ts/errors';
import { allReduce, type ProcessGroup } from '@megatron-ts/process-groups';
import { formatShape, shardedCrossEntropy, type Tensor, whereInModel } from '@megatron-ts/tensor';
import type { VocabShard } from './mappings.ts';
import { requireTokens } from './require-tokens.ts';
import { vocabRange } from './vocab-range.ts';

/** Options of the loss. */
export interface VocabParallelCrossEntropyOptions {
  /** Tokens over all ranks; by default the ranks hold equally many. */
  readonly vocabSize?: number;
}

/**
 * `log(sum(exp(logits))) - logits[target]` of each token, for logits whose vocabulary is cut over the ranks: `logits` `[s, b, v / t]`,
 * `targets` (i32) `[s, b]`, result `[s, b]`. Two all-reduces forward (the maxima, then both sums packed), none backward.
 * @throws ShapeError SHAPE_MISMATCH, INDEX_OUT_OF_RANGE for a target outside the vocabulary
 * @source Shoeybi et al. 2019, section 3; Megatron-core, fused vocabulary-parallel cross entropy
 */
export function vocabParallelCrossEntropy(
  logits: Tensor<VocabShard>,
  targets: Tensor,
  tpGroup: ProcessGroup,
  options: VocabParallelCrossEntropyOptions = {},
): Tensor {
  const cols = logits.shape.at(-1) ?? 0;
  const { vocabSize = cols * tpGroup.size } = options;
  const { start, end } = vocabRange(vocabSize, tpGroup);
  if (end - start !== cols) {
    const sentence =
      `${whereInModel('vocabParallelCrossEntropy')}: logits ${formatShape(logits.shape)} on rank ${tpGroup.rank} of ${tpGroup.size} are `
      + `not columns ${start} to ${end} of a vocabulary of ${vocabSize}. Give the vocabSize of the layer that made them.`;
    throw new ShapeError('SHAPE_MISMATCH', sentence, { fields: { shape: logits.shape, start, end, vocabSize } });
  }
  requireTokens('vocabParallelCrossEntropy', targets, vocabSize);
  return shardedCrossEntropy(logits, targets, {
    firstColumn: start,
    maximum: (rows) => allReduce(rows, { group: tpGroup, op: 'max', label: whereInModel('crossEntropy maxima') }).wait(),
    sum: (statistics) => allReduce(statistics, { group: tpGroup, label: whereInModel('crossEntropy sums') }).wait(),
  });
}
