import { ConfigError, ShapeError } from '@megatron-ts/errors';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { result } from '../result.ts';
import { formatShape } from '../shape.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireDType } from './operands.ts';

const outs = new Uint32Array(2);

/** A dropout of probabilities whose draws know nothing but the key and the element's place in the whole model. */
export interface AttentionDropout {
  /** Share of the probabilities that are left out, from 0 to below 1; the others are divided by 1 - p. */
  readonly p: number;
  /** Two words made of seed, step and site, such as `philoxKey(seed, site at step)`. */
  readonly key: readonly [number, number];
  /** Number of the first sample of the batch among those of all ranks; 0 by default. */
  readonly firstSample?: number;
  /** Number of the first head of this rank; 0 by default. */
  readonly firstHead?: number;
}

/** Options of `selfAttention`. */
export interface SelfAttentionOptions {
  /** Heads in `qkv`: those of this rank under tensor parallelism. */
  readonly numHeads: number;
  /** Whether a query sees only keys up to its own position. */
  readonly causal: boolean;
  /** Keys that a causal query sees, its own the last; all by default. */
  readonly window?: number | undefined;
  /** Which probabilities are left out; none by default. */
  readonly dropout?: AttentionDropout | undefined;
  /** What products are computed in, with f32 sums; f32 by default. */
  readonly computeDType?: 'f32' | 'bf16' | undefined;
}

/** Extents and settings in the engine's order. */
function settingsOf(qkv: AnyTensor, options: SelfAttentionOptions): Uint32Array {
  requireDType('selfAttention', { qkv }, 'f32');
  const { numHeads, causal, window, dropout, computeDType } = options;
  const [seq = 0, batch = 0, width = 0] = qkv.shape;
  const headDim = width / (3 * numHeads);
  if (qkv.shape.length !== 3 || !Number.isInteger(headDim) || headDim < 1)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('selfAttention')}: qkv ${formatShape(qkv.shape)} is not [s, b, 3 · ${numHeads} heads · d]. The last extent must be a multiple of ${3 * numHeads}.`,
    );
  if (window !== undefined && !(causal && Number.isInteger(window) && window >= 1))
    throw new ConfigError(
      'INVALID_OPTION',
      `${where('selfAttention')}: window is ${window} with causal ${causal}. Use a whole number of at least 1, and causal attention.`,
    );
  if (dropout !== undefined && !(dropout.p >= 0 && dropout.p < 1))
    throw new ConfigError('INVALID_OPTION', `${where('selfAttention')}: dropout is ${dropout.p}. Use a number from 0 to below 1.`);
  const flags = [causal ? 1 : 0, Math.min(window ?? 0, seq), computeDType === 'bf16' ? 1 : 0];
  const { key = [0, 0], firstSample = 0, firstHead = 0 } = dropout ?? {};
  return Uint32Array.of(seq, batch, numHeads, headDim, ...flags, ...key, firstSample, firstHead);
}

/**
 * `dropout(softmax(q kᵀ / sqrt(d))) v` per head. `qkv` `[s, b, 3 · a · d]` holds all queries, then all keys, then all values, each head
 * by head; the result is `[s, b, a · d]`. Backward recomputes the probabilities from the saved log-sum-exp, and draws the same dropout
 * again: memory is linear in s.
 * @throws ShapeError SHAPE_MISMATCH, ConfigError INVALID_OPTION
 * @source Vaswani et al. 2017, equation 1; Dao et al. 2022 (recomputation); Beltagy et al. 2020 (windows)
 */
export function selfAttention<P extends Whole>(qkv: Tensor<P>, options: SelfAttentionOptions): Tensor<P> {
  const settings = settingsOf(qkv, options);
  const [seq = 0, batch = 0, width = 0] = qkv.shape;
  const { numHeads, dropout: { p } = { p: 0 } } = options;
  engine.attention(qkv.handle, settings, p, outs);
  const [outHandle, lseHandle] = outs as unknown as [number, number];
  const lse = new Tensor(lseHandle, { shape: [batch, numHeads, seq], dtype: 'f32', placement: 'replicated' });
  const out = result('selfAttention', outHandle, { shape: [seq, batch, width / 3], dtype: 'f32', placement: qkv.placement }); // [s, b, a · d]
  return record(out, {
    op: 'selfAttention',
    inputs: [qkv],
    saved: [qkv, out, lse],
    backward: (grad) => {
      const handle = engine.attentionBackward(qkv.handle, out.handle, lse.handle, grad.handle, settings, p);
      return [result('selfAttention', handle, { shape: qkv.shape, dtype: 'f32', placement: qkv.placement })];
    },
  });
}
