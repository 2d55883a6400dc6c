import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { combined, overRows, place, placed } from '../placements/index.ts';
import { result } from '../result.ts';
import { extentOf, formatShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireStreams } from './operands.ts';
import { targetOf } from './weight-grad.ts';

/**
 * `gelu(x + bias)` in one pass, tanh form; `x` `[…, h]`, bias `[h]`.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, DTYPE_MISMATCH
 * @source Hendrycks and Gimpel 2016, section 2
 */
export function biasGelu<P extends Whole>(x: Tensor<P>, bias: Tensor<P>): Tensor<P> {
  requireStreams('biasGelu', { x }, { bias });
  const cols = x.shape.length === 0 ? 0 : extentOf(x.shape, x.shape.length - 1);
  if (bias.shape.length !== 1 || bias.shape[0] !== cols || cols === 0)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('biasGelu')}: x ${formatShape(x.shape)} and bias ${formatShape(bias.shape)} do not fit. The bias needs the last extent of x.`,
    );
  const rows = x.numel / cols;
  const form = { shape: x.shape, dtype: x.dtype, placement: x.placement };
  const backward = (grad: AnyTensor) => {
    const through = () => combined('biasGelu', x.shape, { addends: [placed(grad)], factors: [placed(x), placed(bias)] });
    const to = targetOf(bias, () => overRows('biasGelu', through()));
    const handle = engine.biasGeluBackward(x.handle, bias.handle, grad.handle, rows, cols, to.handle, to.accumulate);
    const dx = result('biasGelu', handle, form);
    if (checksPlacements()) place(dx, through().layout);
    return [dx, to.gradient()];
  };
  const y = result('biasGelu', engine.biasGelu(x.handle, bias.handle, rows, cols), form);
  if (checksPlacements()) place(y, combined('biasGelu', x.shape, { factors: [placed(x), placed(bias)] }).layout);
  return record(y, {
    op: 'biasGelu',
    inputs: [x, bias],
    saved: [x, bias],
    backward,
  });
}
