import { checksPlacements } from '../check-mode.ts';
import { type DType, dtypeCode } from '../dtype.ts';
import { engine } from '../engine.ts';
import { place, zeroLayout } from '../placements/index.ts';
import { result } from '../result.ts';
import { numel, requireShape, type Shape } from '../shape.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { forgetUniform } from '../uniform-value.ts';

/** `target += alpha · source`, in place and unrecorded; an f32 target takes a bf16 source. */
export function axpy(target: AnyTensor, alpha: number, source: AnyTensor): void {
  forgetUniform(target);
  engine.axpy(target.handle, alpha, source.handle);
}

/** `target *= alpha`, in place and unrecorded. */
export function scaleInPlace(target: AnyTensor, alpha: number): void {
  forgetUniform(target);
  engine.scaleInPlace(target.handle, alpha);
}

/** Copies the values of `source` into `target`, converting the dtype; unrecorded. */
export function copyInto(target: AnyTensor, source: AnyTensor): void {
  forgetUniform(target);
  engine.copyInto(target.handle, source.handle);
}

/** What a filled tensor holds. */
export interface FilledOptions {
  /** The value; 0 by default. */
  readonly value?: number;
  /** Element type; f32 by default. */
  readonly dtype?: DType;
}

/** A tensor of one value. @throws ShapeError INVALID_EXTENT, TOO_LARGE */
export function filled(shape: Shape, { value = 0, dtype = 'f32' }: FilledOptions): Tensor {
  requireShape('filled', shape);
  const made = result('filled', engine.filled(dtypeCode(dtype), numel(shape), value), {
    shape: [...shape],
    dtype,
    placement: 'replicated',
  });
  return value === 0 && checksPlacements() ? place(made, zeroLayout) : made;
}

/** Zeros of `shape`. */
export function zeros(shape: Shape, dtype: DType = 'f32'): Tensor {
  return filled(shape, { dtype });
}

/** Ones of `shape`. */
export function ones(shape: Shape, dtype: DType = 'f32'): Tensor {
  return filled(shape, { value: 1, dtype });
}

/**
 * Memory of `shape` whose values are whatever was there: for receives and collectives that write all of it.
 * @throws ShapeError INVALID_EXTENT, TOO_LARGE
 */
export function empty(shape: Shape, dtype: DType = 'f32'): Tensor {
  requireShape('empty', shape);
  return new Tensor(engine.empty(dtypeCode(dtype), numel(shape)), { shape: [...shape], dtype, placement: 'replicated' });
}
