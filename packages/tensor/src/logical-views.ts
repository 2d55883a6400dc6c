import { alias } from './ops/view.ts';
import type { LogicalTensor } from './param-meta.ts';
import { numel, stridesOf } from './shape.ts';
import type { AnyTensor } from './tensor.ts';

/** What `x`, of a parameter's shape, holds of one logical tensor whose parts are whole rows: the same memory, one view for each part. */
export function logicalViews(x: AnyTensor, { rectangles }: LogicalTensor): AnyTensor[] {
  const strides = stridesOf(x.shape);
  return rectangles
    .filter(({ extent }) => numel(extent) > 0)
    .map(({ extent, localOffset: [row = 0] }) => alias(x, extent, row * (strides[0] ?? 0)));
}
