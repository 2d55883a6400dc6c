import { add, type AnyTensor, crossEntropy, mul, type Tensor, tensor } from '@megatron-ts/tensor';

/** What the losses of both heads are made of. */
export interface BertLossesOptions {
  /** Token that each masked one was (i32) `[s, b]`, `ignoreIndex` where none was masked. */
  readonly targets: Tensor;
  /** Logits of the binary head `[b, 2]`. */
  readonly sentenceLogits: Tensor;
  /** Which of the two is true of each sample (i32) `[b]`. */
  readonly sentenceTargets: AnyTensor;
  /** Target of tokens that are not masked. */
  readonly ignoreIndex: number;
}

/**
 * Adds to the loss of each masked token `[s, b]` that of its sample's sentences. Divided by the number of masked tokens, the sum is the
 * mean of the masked losses and a mean of those of the sentences, which no cut into microbatches or ranks changes: each sample has the
 * weight of its masked tokens.
 * @throws ShapeError SHAPE_MISMATCH, INDEX_OUT_OF_RANGE
 * @source Devlin et al. 2019, appendix A.2 (the sum of both means)
 */
export function addSentenceLosses(losses: Tensor, options: BertLossesOptions): Tensor {
  const { targets, sentenceLogits, sentenceTargets, ignoreIndex } = options;
  const isMasked = Float32Array.from(targets.toArray<'i32'>(), (target) => (target === ignoreIndex ? 0 : 1));
  const bySample = crossEntropy(sentenceLogits, sentenceTargets); // [b]
  return add(losses, mul(tensor(isMasked, targets.shape), bySample)); // [s, b]
}
