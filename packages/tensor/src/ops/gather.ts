import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { layoutWords } from '../layout-words.ts';
import { record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { combined, layoutOf, place, placed } from '../placements/index.ts';
import { result } from '../result.ts';
import { extentOf, formatShape, numel, resolveDim } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { filled } from './in-place.ts';
import { requireDType } from './operands.ts';

/**
 * `out[…, i, …] = x[…, index[…, i, …], …]` along `dim`; `index` (i32) has the shape of the result and agrees with `x` in all other dims.
 * @throws ShapeError SHAPE_MISMATCH, EngineError for an index outside
 */
export function gather<P extends Placement>(x: Tensor<P>, dim: number, index: AnyTensor): Tensor<P> {
  const at = resolveDim('gather', x.shape, dim);
  requireDType('gather', { index }, 'i32');
  if (index.shape.length !== x.shape.length || index.shape.some((extent, i) => i !== at && extent !== x.shape[i]))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('gather')}: index ${formatShape(index.shape)} must agree with ${formatShape(x.shape)} in every dim but ${at}. Reshape or expand the index.`,
    );
  const extents = [numel(x.shape.slice(0, at)), extentOf(x.shape, at), extentOf(index.shape, at), numel(x.shape.slice(at + 1))];
  const layout = layoutWords('gather', extents);
  const form = { shape: index.shape, dtype: x.dtype, placement: x.placement };
  const y = result('gather', engine.gather(x.handle, index.handle, layout), form);
  if (checksPlacements()) place(y, combined('gather', index.shape, { addends: [placed(x)], factors: [placed(index)] }).layout);
  return record(y, {
    op: 'gather',
    inputs: [x],
    saved: [index],
    backward: (grad) => {
      const whole = filled(x.shape, { dtype: grad.dtype });
      engine.gatherAdd(whole.handle, index.handle, grad.handle, layout);
      if (checksPlacements()) place(whole, layoutOf(grad));
      return [whole];
    },
  });
}
