import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { combined, overRows, place, placed, placedIf } from '../placements/index.ts';
import { result } from '../result.ts';
import { extentOf, formatShape, sameShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireStreams } from './operands.ts';
import { targetOf } from './weight-grad.ts';

// The engine's codes.
const gates = { biasSwiglu: 0, biasGeglu: 1 };

function apply(op: keyof typeof gates, x: AnyTensor, bias: AnyTensor | undefined): AnyTensor {
  requireStreams(op, { x }, bias === undefined ? {} : { bias });
  const width = x.shape.length === 0 ? 0 : extentOf(x.shape, x.shape.length - 1);
  if (width === 0 || width % 2 !== 0 || (bias !== undefined && !sameShape(bias.shape, [width])))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where(op)}: x ${formatShape(x.shape)} and bias ${bias === undefined ? '(none)' : formatShape(bias.shape)} do not fit. The last extent of x holds the gate and as many values, and the bias has its length.`,
    );
  const [rows, cols] = [x.numel / width, width / 2];
  const handle = engine.biasGated(gates[op], x.handle, bias?.handle ?? 0, rows, cols);
  const shape = [...x.shape.slice(0, -1), cols];
  const y = result(op, handle, { shape, dtype: x.dtype, placement: x.placement as Whole }); // […, f]
  const operands = () => [x, bias].flatMap(placedIf);
  if (checksPlacements()) place(y, combined(op, x.shape, { factors: operands() }).layout);
  const backward = (grad: AnyTensor) => {
    const through = () => combined(op, x.shape, { addends: [{ ...placed(grad), shape: x.shape }], factors: operands() });
    const to = targetOf(bias, () => overRows(op, through()));
    const dx = engine.biasGatedBackward(gates[op], x.handle, bias?.handle ?? 0, grad.handle, rows, cols, to.handle, to.accumulate);
    const gradient = result(op, dx, { shape: x.shape, dtype: x.dtype, placement: x.placement as Whole }); // […, 2f]
    if (checksPlacements()) place(gradient, through().layout);
    return bias === undefined ? [gradient] : [gradient, to.gradient()];
  };
  const inputs = bias === undefined ? [x] : [x, bias];
  return record(y, { op, inputs, saved: inputs, backward });
}

/**
 * `silu(g) · u` of `x + bias` in one pass, where the last extent of `x` `[…, 2f]` holds all gates g, then all values u; bias `[2f]`.
 * Backward writes both gradients and that of the bias in one pass. Close to `silu` and products one after the other.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, DTYPE_MISMATCH
 * @source Shazeer 2020, equation 6
 */
export function biasSwiglu<P extends Whole>(x: Tensor<P>, bias?: AnyTensor): Tensor<P> {
  return apply('biasSwiglu', x, bias);
}

/** The same with `gelu`, tanh form. @throws ShapeError SHAPE_MISMATCH @source Shazeer 2020, equation 6 */
export function biasGeglu<P extends Whole>(x: Tensor<P>, bias?: AnyTensor): Tensor<P> {
  return apply('biasGeglu', x, bias);
}
