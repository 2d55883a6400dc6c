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
import { parameterGrads, plainGrads, type WeightGradient } from './weight-grad.ts';

/**
 * `residual + (x + bias)` in one pass; `x` and `residual` `[…, h]`, bias `[h]`. Without a residual, or without a bias, the sum of the
 * others. The gradient of the bias goes straight into its `gradTarget()`. Bits are those of `add` twice, but for the gradient of the
 * bias, whose rows are added in another order.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, DTYPE_MISMATCH
 */
export function biasAdd<P extends Whole>(x: Tensor<P>, bias: AnyTensor | undefined, residual?: Tensor<P>): Tensor<P> {
  requireStreams('biasAdd', residual === undefined ? { x } : { x, residual }, bias === undefined ? {} : { bias });
  const cols = x.shape.length === 0 ? 0 : extentOf(x.shape, x.shape.length - 1);
  if (
    cols === 0
    || (bias !== undefined && !sameShape(bias.shape, [cols]))
    || (residual !== undefined && !sameShape(residual.shape, x.shape))
  )
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('biasAdd')}: x ${formatShape(x.shape)}, bias ${shapeOf(bias)} and residual ${shapeOf(residual)} do not fit. The bias needs the last extent of x, and the residual its shape.`,
    );
  const rows = x.numel / cols;
  const sum = engine.biasAdd(x.handle, bias?.handle ?? 0, residual?.handle ?? 0, rows, cols);
  const weights: WeightGradient[] = [
    {
      weight: bias,
      write: (grad) => (target, accumulate) => engine.sumRows(grad.handle, rows, cols, target, accumulate),
      placement: (grad) => overRows('biasAdd', placed(grad)),
    },
  ];
  const others = residual === undefined ? [x] : [x, residual];
  const y = result('biasAdd', sum, { shape: x.shape, dtype: x.dtype, placement: x.placement });
  if (checksPlacements()) place(y, combined('biasAdd', y.shape, { addends: [x, bias, residual].flatMap(placedIf) }).layout);
  return record(y, {
    op: 'biasAdd',
    inputs: bias === undefined ? others : [...others, bias],
    saved: [],
    backward: (grad) => [...others.map(() => grad), ...(bias === undefined ? [] : plainGrads(weights, grad))],
    backwardWeight: (grad) => parameterGrads(weights, grad),
  });
}

function shapeOf(tensor: AnyTensor | undefined): string {
  return tensor === undefined ? '(none)' : formatShape(tensor.shape);
}
