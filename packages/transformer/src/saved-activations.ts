import type { ParamDType } from '@megatron-ts/tensor-parallel';
import type { Activation } from './parallel-mlp.ts';
import { type RecomputedPart, recomputedPartsOf } from './recompute-plan.ts';

/** Sizes and settings of a layer, as far as they decide what its forward keeps. */
export interface SavedActivationsOptions {
  /** Tokens of a sequence, s. */
  readonly sequenceLength: number;
  /** Samples of a microbatch, b. */
  readonly batchSize: number;
  /** Features of the residual stream, h. */
  readonly hiddenSize: number;
  /** Features inside the MLP, f; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** Heads over all ranks, a. */
  readonly numAttentionHeads: number;
  /** What stands between the two layers of the MLP; `'gelu'` by default. */
  readonly activation?: Exclude<Activation, 'geluErf' | 'relu' | 'squaredRelu'>;
  /** What the residual stream is stored in; f32 by default. */
  readonly paramDType?: ParamDType;
  /** Ranks that share the layer, t; 1 by default. */
  readonly tensorModelParallelSize?: number;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: boolean;
  /** Parts whose results are not kept; none by default. */
  readonly recompute?: readonly RecomputedPart[];
}

/** A tensor that a forward keeps for backward. */
export interface SavedActivation {
  /** What it is. */
  readonly name: string;
  /** Shape on one rank. */
  readonly shape: readonly number[];
  /** Bytes on one rank. */
  readonly bytes: number;
}

/**
 * What one rank keeps of a `TransformerLayer` between the forward and the backward of a microbatch, tensor by tensor, the layer's input
 * included, for as many keys as queries and no rotations. Dropout keeps nothing, as backward draws the same again, and attention keeps no
 * probabilities.
 * @throws ConfigError INVALID_OPTION for an unknown part
 */
export function savedActivations(options: SavedActivationsOptions): readonly SavedActivation[] {
  const { sequenceLength: s, batchSize: b, hiddenSize: h, ffnHiddenSize = 4 * h, numAttentionHeads } = options;
  const { activation = 'gelu', paramDType = 'f32', tensorModelParallelSize: t = 1, sequenceParallel = false } = options;
  const again = recomputedPartsOf('savedActivations', options.recompute);
  const rows = sequenceParallel ? s / t : s;
  const of = (elementBytes: number) => (name: string, shape: readonly number[]) => ({
    name,
    shape,
    bytes: elementBytes * shape.reduce((product, extent) => product * extent, 1),
  });
  const [stream, f32] = [of(paramDType === 'bf16' ? 2 : 4), of(4)];
  const wide = ((activation === 'gelu' ? 1 : 2) * ffnHiddenSize) / t;
  const unless = (part: RecomputedPart, ...saved: SavedActivation[]) => (again.has(part) ? [] : saved);
  return [
    stream('input of the layer', [rows, b, h]),
    f32('statistics of the first norm', [rows * b, 2]),
    ...unless('norm', stream('input of queries, keys and values', [rows, b, h])),
    stream('queries, keys and values', [s, b, (3 * h) / t]),
    ...unless(
      'coreAttention',
      stream('context of attention', [s, b, h / t]),
      f32('log-sum-exp of attention', [b, numAttentionHeads / t, s]),
    ),
    stream('residual stream behind attention', [rows, b, h]),
    f32('statistics of the second norm', [rows * b, 2]),
    ...unless('norm', stream('input of the MLP', [rows, b, h])),
    stream('input of the activation', [s, b, wide]),
    ...unless('activation', stream('result of the activation', [s, b, ffnHiddenSize / t])),
  ];
}
