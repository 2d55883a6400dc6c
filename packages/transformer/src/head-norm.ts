import { cat, Module, reshape, slice, type Tensor, type Whole } from '@megatron-ts/tensor';
import type { ParamDType } from '@megatron-ts/tensor-parallel';
import { RMSNorm } from './rms-norm.ts';

/** Heads of a rank. */
export interface LocalHeads {
  /** Queries. */
  readonly numHeads: number;
  /** Keys, and as many values. */
  readonly numKeyValueHeads: number;
  /** Features of each. */
  readonly headDim: number;
}

/** Options of norms of queries and keys. */
export interface HeadNormOptions {
  /** Features of a head. */
  readonly headDim: number;
  /** Added to the mean of squares; 1e-5 by default. */
  readonly eps?: number | undefined;
  /** What the scales are stored in; f32 by default. */
  readonly paramDType?: ParamDType | undefined;
}

/**
 * RMS norms of each query and of each key, with one scale for all queries and one for all keys.
 * @source Dehghani et al. 2023, section 2; Qwen3
 */
export class HeadNorm extends Module {
  /** For queries, `[d]`. */
  readonly query: RMSNorm;
  /** For keys, `[d]`. */
  readonly key: RMSNorm;

  /** @throws ConfigError INVALID_OPTION */
  constructor({ headDim, eps, paramDType }: HeadNormOptions) {
    super();
    // Each rank has heads of its own, so that its gradients are summands, whether or not the residual stream is cut.
    const options = { hiddenSize: headDim, sequenceParallel: true, paramDType, ...(eps === undefined ? {} : { eps }) };
    this.query = new RMSNorm(options);
    this.key = new RMSNorm(options);
  }

  /** `qkv` `[s, b, (a + 2g) · d]` to the same shape; values stay as they are. */
  override forward<P extends Whole>(qkv: Tensor<P>, { numHeads, numKeyValueHeads, headDim }: LocalHeads): Tensor<P> {
    const [seq = 0, batch = 0, width = 0] = qkv.shape;
    const [queries, keys] = [numHeads * headDim, numKeyValueHeads * headDim];
    const headsOf = (start: number, heads: number) =>
      reshape(slice(qkv, -1, { start, end: start + heads * headDim }), [seq, batch, heads, headDim]); // [s, b, heads, d]
    const query = this.query.call(headsOf(0, numHeads)); // [s, b, a, d]
    const key = this.key.call(headsOf(queries, numKeyValueHeads)); // [s, b, g, d]
    const value = slice(qkv, -1, { start: queries + keys, end: width }); // [s, b, g · d]
    return cat([reshape(query, [seq, batch, queries]), reshape(key, [seq, batch, keys]), value], -1); // [s, b, (a + 2g) · d]
  }
}
