import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { combined, place, placed } from '../placements/index.ts';
import { result } from '../result.ts';
import { broadcastShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { sumToShape } from './binary.ts';
import { filled } from './in-place.ts';
import { elementLayout, requireDType, requireSameDType } from './operands.ts';

function raw(condition: AnyTensor, a: AnyTensor, b: AnyTensor): AnyTensor {
  requireDType('where', { condition }, 'u8');
  requireSameDType('where', a, b);
  const shape = broadcastShape('where', broadcastShape('where', condition.shape, a.shape), b.shape);
  const layout = elementLayout('where', shape, [condition.shape, a.shape, b.shape]);
  const y: AnyTensor = result('where', engine.select(condition.handle, a.handle, b.handle, layout), {
    shape,
    dtype: a.dtype,
    placement: a.placement as Placement,
  });
  if (!checksPlacements()) return y;
  return place(y, combined('where', shape, { addends: [placed(a), placed(b)], factors: [placed(condition)] }).layout);
}

/** `a` where `condition` (u8) is not 0, else `b`; all three broadcast. */
export function where<P extends Placement>(condition: AnyTensor, a: Tensor<P>, b: Tensor<P>): Tensor<P> {
  return record(raw(condition, a, b), {
    op: 'where',
    inputs: [a, b],
    saved: [condition],
    backward: (grad) => {
      const zero = filled([], { dtype: grad.dtype });
      return [
        a.requiresGrad ? sumToShape(raw(condition, grad, zero), a.shape) : null,
        b.requiresGrad ? sumToShape(raw(condition, zero, grad), b.shape) : null,
      ];
    },
  });
}
