import { ShapeError } from '@megatron-ts/errors';
import { allReduce, type ProcessGroup } from '@megatron-ts/process-groups';
import {
  type ComputeOptions,
  type CrossEntropyOptions,
  formatShape,
  shardedCrossEntropy,
  shardedLinearCrossEntropy,
  type ShardReduction,
  type Tensor,
  whereInModel,
} from '@megatron-ts/tensor';
import type { VocabShard } from './mappings.ts';
import { requireTokens } from './require-tokens.ts';
import { type Vocabulary, vocabRange } from './vocab-range.ts';

/** Options of the loss. */
export interface VocabParallelCrossEntropyOptions extends CrossEntropyOptions, Pick<Vocabulary, 'vocabMultiple'> {
  /** Tokens over all ranks; by default the ranks hold equally many. */
  readonly vocabSize?: number;
}

/**
 * `log(sum(exp(logits))) - logits[target]` of each token, for logits whose vocabulary is cut over the ranks: `logits` `[s, b, v / t]`,
 * `targets` (i32) `[s, b]`, result `[s, b]`. Two all-reduces forward (the maxima, then all sums packed), none backward. Label smoothing and
 * `zLoss` are those of the whole vocabulary, whatever the number of ranks; a target that is `ignoreIndex` has loss 0 and no gradient.
 * @throws ShapeError SHAPE_MISMATCH, INDEX_OUT_OF_RANGE for a target outside the vocabulary; ConfigError INVALID_OPTION
 * @source Shoeybi et al. 2019, section 3; Megatron-core, fused vocabulary-parallel cross entropy
 */
export function vocabParallelCrossEntropy(
  logits: Tensor<VocabShard>,
  targets: Tensor,
  tpGroup: ProcessGroup,
  options: VocabParallelCrossEntropyOptions = {},
): Tensor {
  const cols = logits.shape.at(-1) ?? 0;
  const { vocabSize = cols * tpGroup.size, vocabMultiple, ...loss } = options;
  const part = heldPart('vocabParallelCrossEntropy', { shape: logits.shape, held: cols, vocabSize, vocabMultiple, tpGroup });
  requireTokens('vocabParallelCrossEntropy', targets, { vocabSize, ignoreIndex: loss.ignoreIndex });
  return shardedCrossEntropy(logits, targets, shardsOf(tpGroup, part), loss);
}

/** The exchanges of one loss: maxima, then sums, over the ranks. */
function shardsOf(group: ProcessGroup, part: HeldPart): ShardReduction {
  return {
    ...part,
    maximum: (rows) => allReduce(rows, { group, op: 'max', label: whereInModel('crossEntropy maxima') }).wait(),
    sum: (statistics) => allReduce(statistics, { group, label: whereInModel('crossEntropy sums') }).wait(),
  };
}

/** Options of the loss of a head. */
export interface VocabParallelLinearCrossEntropyOptions extends ComputeOptions, VocabParallelCrossEntropyOptions {
  /** Ranks that share the vocabulary. */
  readonly tpGroup: ProcessGroup;
}

/**
 * The loss of each token from hidden states, for a head whose vocabulary is cut over the ranks, without ever holding the logits of all
 * tokens: `hidden` `[s, b, h]`, whole on every rank, weight `[v / t, h]`, targets (i32) `[s, b]`, result `[s, b]`. Two all-reduces forward
 * for each chunk of tokens, none backward. Losses and the gradient of `hidden` have the bits of `linear` and
 * `vocabParallelCrossEntropy`.
 * @throws ShapeError SHAPE_MISMATCH, INDEX_OUT_OF_RANGE for a target outside the vocabulary; ConfigError INVALID_OPTION
 * @source Hsu et al. 2024, Liger Kernel, section 3.2; Shoeybi et al. 2019, section 3
 */
export function vocabParallelLinearCrossEntropy(
  hidden: Tensor,
  weight: Tensor<VocabShard>,
  targets: Tensor,
  { tpGroup, ...given }: VocabParallelLinearCrossEntropyOptions,
): Tensor {
  const rows = weight.shape[0] ?? 0;
  const { vocabSize = rows * tpGroup.size, vocabMultiple, ...options } = given;
  const part = heldPart('vocabParallelLinearCrossEntropy', { shape: weight.shape, held: rows, vocabSize, vocabMultiple, tpGroup });
  requireTokens('vocabParallelLinearCrossEntropy', targets, { vocabSize, ignoreIndex: options.ignoreIndex });
  return shardedLinearCrossEntropy(hidden, weight, targets, { shards: shardsOf(tpGroup, part), ...options });
}

interface HeldColumns extends Vocabulary {
  readonly shape: readonly number[];
  readonly held: number;
  readonly tpGroup: ProcessGroup;
}

type HeldPart = Required<Pick<ShardReduction, 'firstColumn' | 'columns' | 'vocabSize'>>;

/** This rank's tokens, when what it holds is its part of the vocabulary. */
function heldPart(op: string, { shape, held, vocabSize, vocabMultiple, tpGroup }: HeldColumns): HeldPart {
  const { start, end, rows } = vocabRange({ vocabSize, vocabMultiple }, tpGroup);
  if (rows === held) return { firstColumn: start, columns: end - start, vocabSize };
  const what = op === 'vocabParallelCrossEntropy' ? 'logits' : 'weight';
  const padding = vocabMultiple === undefined ? '' : `, padded to ${rows} columns by vocabMultiple ${vocabMultiple}`;
  const sentence =
    `${whereInModel(op)}: ${what} ${formatShape(shape)} on rank ${tpGroup.rank} of ${tpGroup.size} are `
    + `not columns ${start} to ${end} of a vocabulary of ${vocabSize}${padding}. Give the vocabSize and vocabMultiple of the layer that made them.`;
  throw new ShapeError('SHAPE_MISMATCH', sentence, { fields: { shape, start, end, vocabSize } });
}
