import { ShapeError } from '@megatron-ts/errors';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { result } from '../result.ts';
import { extentOf, formatShape } from '../shape.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { empty } from './in-place.ts';
import { requireDType } from './operands.ts';

const outs = new Uint32Array(2);

/** Options of `layerNorm`. */
export interface LayerNormOptions {
  /** Scale, `[h]`. */
  readonly weight: AnyTensor;
  /** Shift, `[h]`. */
  readonly bias: AnyTensor;
  /** Added to the variance; 1e-5 by default. */
  readonly eps?: number;
}

/** Gradient memory of one of the two vectors: a parameter's target, a fresh tensor, or nothing. */
function targetOf(vector: AnyTensor): { readonly handle: number; readonly accumulate: boolean; readonly made: AnyTensor | null } {
  if (!vector.requiresGrad) return { handle: 0, accumulate: false, made: null };
  if (vector.asParameter !== undefined) {
    const { tensor, accumulate } = vector.asParameter.gradTarget();
    return { handle: tensor.handle, accumulate, made: null };
  }
  const made = empty(vector.shape);
  return { handle: made.handle, accumulate: false, made };
}

/**
 * `(x - mean) / sqrt(var + eps) · weight + bias` over the last dim of `x` `[…, h]`.
 * @throws ShapeError SHAPE_MISMATCH
 * @source Ba, Kiros and Hinton 2016, equation 4
 */
export function layerNorm<P extends Whole>(x: Tensor<P>, { weight, bias, eps = 1e-5 }: LayerNormOptions): Tensor<P> {
  requireDType('layerNorm', { x, weight, bias }, 'f32');
  const cols = x.shape.length === 0 ? 0 : extentOf(x.shape, x.shape.length - 1);
  if (cols === 0 || weight.numel !== cols || bias.numel !== cols)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('layerNorm')}: x ${formatShape(x.shape)}, weight ${formatShape(weight.shape)} and bias ${formatShape(bias.shape)} do not fit. Weight and bias need the last extent of x.`,
    );
  const rows = x.numel / cols;
  engine.layerNorm(x.handle, weight.handle, bias.handle, rows, cols, eps, outs);
  const [yHandle, statsHandle] = outs as unknown as [number, number];
  const stats = new Tensor(statsHandle, { shape: [rows, 2], dtype: 'f32', placement: 'replicated' }); // mean and 1/std of each row
  const form = { shape: x.shape, dtype: x.dtype, placement: x.placement };
  return record(result('layerNorm', yHandle, form), {
    op: 'layerNorm',
    inputs: [x, weight, bias],
    saved: [x, weight, stats],
    backward: (grad) => {
      const [w, b] = [targetOf(weight), targetOf(bias)];
      const handle = engine.layerNormBackward(
        grad.handle,
        x.handle,
        weight.handle,
        stats.handle,
        rows,
        cols,
        w.handle,
        b.handle,
        w.accumulate,
        b.accumulate,
      );
      return [result('layerNorm', handle, form), w.made, b.made];
    },
  });
}
