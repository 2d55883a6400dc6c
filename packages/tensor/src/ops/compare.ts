import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import type { Placement } from '../placement.ts';
import { combined, place, placed } from '../placements/index.ts';
import { result } from '../result.ts';
import { broadcastShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { elementLayout, requireSameDType } from './operands.ts';

// The engine's codes.
const codes = { eq: 0, ne: 1, lt: 2, le: 3, gt: 4, ge: 5 };

/** Any comparison; 1 where it holds, else 0, as u8. */
export function compareRaw(op: keyof typeof codes, a: AnyTensor, b: AnyTensor | number): AnyTensor {
  if (typeof b === 'number') {
    const form = { shape: a.shape, dtype: 'u8', placement: a.placement as Placement } as const;
    const y: AnyTensor = result(op, engine.compareScalar(codes[op], a.handle, b), form);
    return checksPlacements() ? place(y, combined(op, a.shape, { factors: [placed(a)] }).layout) : y;
  }
  requireSameDType(op, a, b);
  const shape = broadcastShape(op, a.shape, b.shape);
  const y: AnyTensor = result(op, engine.compare(codes[op], a.handle, b.handle, elementLayout(op, shape, [a.shape, b.shape])), {
    shape,
    dtype: 'u8',
    placement: a.placement as Placement,
  });
  return checksPlacements() ? place(y, combined(op, shape, { factors: [placed(a), placed(b)] }).layout) : y;
}

/** 1 where a = b. */
export function eq<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return compareRaw('eq', a, b);
}

/** 1 where a ≠ b. */
export function ne<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return compareRaw('ne', a, b);
}

/** 1 where a < b. */
export function lt<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return compareRaw('lt', a, b);
}

/** 1 where a ≤ b. */
export function le<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return compareRaw('le', a, b);
}

/** 1 where a > b. */
export function gt<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return compareRaw('gt', a, b);
}

/** 1 where a ≥ b. */
export function ge<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return compareRaw('ge', a, b);
}
