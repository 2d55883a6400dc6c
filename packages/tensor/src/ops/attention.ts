import { ConfigError, ShapeError } from '@megatron-ts/errors';
import { computeCode, type ComputeDType } from '../compute-dtype.ts';
import { drawOf, type DrawOptions, requireDropoutRates, requireWords } from '../draw.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { result } from '../result.ts';
import { formatShape } from '../shape.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireDType } from './operands.ts';

const outs = new Uint32Array(2);
const noDropout: AttentionDropout = { p: 0 };

/** A dropout of probabilities, whose draws know the sample, the head, the query and the key of an element. */
export interface AttentionDropout extends DrawOptions {
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
  /** What products are computed in, with f32 sums; by default the dtype of `qkv`. */
  readonly computeDType?: ComputeDType | undefined;
}

/** Extents and settings in the engine's order, and the share of the probabilities that are left out. */
function settingsOf(qkv: AnyTensor, options: SelfAttentionOptions): readonly [settings: Uint32Array, p: number] {
  requireDType('selfAttention', { qkv }, 'f32', 'bf16');
  const { numHeads, causal, window, dropout = noDropout, computeDType } = options;
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
  const { firstHead = 0 } = dropout;
  requireDropoutRates('selfAttention', { dropout: dropout.p });
  requireWords('selfAttention', { firstHead });
  const flags = [causal ? 1 : 0, Math.min(window ?? 0, seq), computeCode('selfAttention', qkv.dtype, { computeDType })];
  const { p, key, firstSample } = drawOf('selfAttention', dropout, batch);
  return [Uint32Array.of(seq, batch, numHeads, headDim, ...flags, ...key, firstSample, firstHead), p];
}

/**
 * `dropout(softmax(q kᵀ / sqrt(d))) v` per head. `qkv` `[s, b, 3 · a · d]` holds all queries, then all keys, then all values, each head
 * by head; the result is `[s, b, a · d]`. Backward recomputes the probabilities from the saved log-sum-exp, and draws the same dropout
 * again: memory is linear in s. bf16 queries, keys and values are always multiplied in bf16.
 * @throws ShapeError SHAPE_MISMATCH, ConfigError INVALID_OPTION, OUTSIDE_STEP
 * @source Vaswani et al. 2017, equation 1; Dao et al. 2022 (recomputation); Beltagy et al. 2020 (windows)
 */
export function selfAttention<P extends Whole>(qkv: Tensor<P>, options: SelfAttentionOptions): Tensor<P> {
  const [settings, p] = settingsOf(qkv, options);
  const [seq = 0, batch = 0, width = 0] = qkv.shape;
  const { numHeads } = options;
  engine.attention(qkv.handle, settings, p, outs);
  const [outHandle, lseHandle] = outs as unknown as [number, number];
  const lse = new Tensor(lseHandle, { shape: [batch, numHeads, seq], dtype: 'f32', placement: 'replicated' });
  const { dtype, placement } = qkv;
  const out = result('selfAttention', outHandle, { shape: [seq, batch, width / 3], dtype, placement }); // [s, b, a · d]
  return record(out, {
    op: 'selfAttention',
    inputs: [qkv],
    saved: [qkv, out, lse],
    backward: (grad) => {
      const handle = engine.attentionBackward(qkv.handle, out.handle, lse.handle, grad.handle, settings, p);
      return [result('selfAttention', handle, { shape: qkv.shape, dtype, placement })];
    },
  });
}
