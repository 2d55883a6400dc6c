import { ShapeError } from '@megatron-ts/errors';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { result } from '../result.ts';
import { formatShape } from '../shape.ts';
import { Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireDType } from './operands.ts';

const outs = new Uint32Array(2);

/** Options of `selfAttention`. */
export interface SelfAttentionOptions {
  /** Heads in `qkv`: those of this rank under tensor parallelism. */
  readonly numHeads: number;
  /** Whether a query sees only keys up to its own position. */
  readonly causal: boolean;
}

/**
 * `softmax(q kᵀ / sqrt(d)) v` per head. `qkv` `[s, b, 3 · a · d]` holds all queries, then all keys, then all values, each head
 * by head; the result is `[s, b, a · d]`. Backward recomputes the probabilities from the saved log-sum-exp: memory is linear in s.
 * @throws ShapeError SHAPE_MISMATCH
 * @source Vaswani et al. 2017, equation 1; Dao et al. 2022 (recomputation)
 */
export function selfAttention<P extends Whole>(qkv: Tensor<P>, { numHeads, causal }: SelfAttentionOptions): Tensor<P> {
  requireDType('selfAttention', { qkv }, 'f32');
  const [seq = 0, batch = 0, width = 0] = qkv.shape;
  const headDim = width / (3 * numHeads);
  if (qkv.shape.length !== 3 || !Number.isInteger(headDim) || headDim < 1)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('selfAttention')}: qkv ${formatShape(qkv.shape)} is not [s, b, 3 · ${numHeads} heads · d]. The last extent must be a multiple of ${3 * numHeads}.`,
    );
  engine.attention(qkv.handle, seq, batch, numHeads, headDim, causal, outs);
  const [outHandle, lseHandle] = outs as unknown as [number, number];
  const lse = new Tensor(lseHandle, { shape: [batch, numHeads, seq], dtype: 'f32', placement: 'replicated' });
  const out = result('selfAttention', outHandle, { shape: [seq, batch, numHeads * headDim], dtype: 'f32', placement: qkv.placement }); // [s, b, a · d]
  return record(out, {
    op: 'selfAttention',
    inputs: [qkv],
    saved: [qkv, out, lse],
    backward: (grad) => {
      const handle = engine.attentionBackward(qkv.handle, out.handle, lse.handle, grad.handle, seq, batch, numHeads, headDim, causal);
      return [result('selfAttention', handle, { shape: qkv.shape, dtype: 'f32', placement: qkv.placement })];
    },
  });
}
