import { checksPlacements } from '../check-mode.ts';
import { type DType, dtypeCode, isFloating } from '../dtype.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { layoutOf, place } from '../placements/index.ts';
import { result } from '../result.ts';
import type { Tensor } from '../tensor.ts';

/** The values in another dtype: to bf16 and f16 rounded to nearest even, to integers truncated. Gradients flow between floating types. */
export function to<P extends Placement>(x: Tensor<P>, dtype: DType): Tensor<P> {
  if (x.dtype === dtype) return x;
  const made = result('to', engine.cast(x.handle, dtypeCode(dtype)), { shape: x.shape, dtype, placement: x.placement });
  if (checksPlacements()) place(made, layoutOf(x));
  if (!isFloating(dtype) || !isFloating(x.dtype)) return made;
  return record(made, { op: 'to', inputs: [x], saved: [], backward: (grad) => [to(grad, x.dtype)] });
}
