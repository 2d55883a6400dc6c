import { ConfigError, DTypeError, ShapeError } from '@megatron-ts/errors';
import { ambient } from './ambient.ts';
import { checksPlacements } from './check-mode.ts';
import { type DType, dtypeCode, dtypeOf, isFloating, type TensorData } from './dtype.ts';
import { engine } from './engine.ts';
import { refusePartial } from './placements/index.ts';
import { result } from './result.ts';
import { formatShape, numel, requireShape } from './shape.ts';
import type { AnyTensor, Tensor } from './tensor.ts';
import { where } from './where-in-model.ts';

/** The plain array that holds values of a dtype. */
export type TypedArrayOf<D extends DType> = D extends 'f64'
  ? Float64Array
  : D extends 'i32'
    ? Int32Array
    : D extends 'i64'
      ? BigInt64Array
      : D extends 'u8'
        ? Uint8Array
        : Float32Array;

const arrays = { f64: Float64Array, i32: Int32Array, i64: BigInt64Array, u8: Uint8Array, f32: Float32Array };

/** An array for values of a dtype; f32 for bf16 and f16. */
export function arrayFor(dtype: DType, numel: number): TypedArrayOf<DType> {
  return new arrays[dtype === 'bf16' || dtype === 'f16' ? 'f32' : dtype](numel);
}

/** A copy of the local values; bf16 and f16 as f32. */
export function toTypedArray(tensor: AnyTensor): TypedArrayOf<DType> {
  const { dtype } = tensor;
  refuseCaptured('toArray', isRead);
  if (dtype === 'bf16' || dtype === 'f16') {
    const wide = engine.cast(tensor.handle, dtypeCode('f32'));
    const values = new Float32Array(tensor.numel);
    engine.toBytes(wide, new Uint8Array(values.buffer));
    engine.release(wide);
    return values;
  }
  const values = new arrays[dtype](tensor.numel);
  engine.toBytes(tensor.handle, new Uint8Array(values.buffer));
  return values;
}

/**
 * A tensor of numbers that are the same in every step, such as positions: a step that is captured has them in memory of its own.
 * @throws ShapeError DATA_LENGTH, INVALID_EXTENT
 */
export function constant(data: Float32Array | Int32Array, shape: readonly number[]): Tensor {
  return ambient.capture?.constant(data, shape) ?? tensor(data, shape);
}

/** Refuses what a step that is captured cannot do. */
function refuseCaptured(op: string, what: string): void {
  if (ambient.capture?.isRecording === true) throw new ConfigError('CAPTURED_READ', `${where(op)}: ${what}`);
}

const isRead =
  'a value is read while the step is captured, in which nothing has run yet. Return the tensor, and read it when run() has returned.';
const isCopied =
  'numbers of the host are copied while the step is captured, and each launch would find the same. Pass them to run() as inputs.';

/** The value of a tensor that has only one. @throws ShapeError NOT_A_SCALAR */
export function onlyValue(tensor: AnyTensor): number {
  if (tensor.numel !== 1)
    throw new ShapeError(
      'NOT_A_SCALAR',
      `item: the tensor has shape [${tensor.shape.join(', ')}]. Reduce it to one number, or use toArray().`,
    );
  if (checksPlacements()) refusePartial('item', tensor);
  refuseCaptured('item', isRead);
  return engine.item(tensor.handle);
}

/** What `tensor` may be told beside the values. */
export interface TensorOptions {
  /** Element type, converted from the array's; by default the array's own. */
  readonly dtype?: DType;
  /** Whether backward computes its gradient. */
  readonly requiresGrad?: boolean;
}

/** Plain numbers in the precision that `dtype` needs. */
function arrayOf(data: readonly number[], dtype: DType | undefined): TensorData {
  return dtype === undefined || dtype === 'f32' ? Float32Array.from(data) : Float64Array.from(data);
}

/**
 * A tensor with a copy of `data`; plain numbers become f32.
 * @param shape - extents, outermost first; by default one dim
 * @throws ShapeError DATA_LENGTH, INVALID_EXTENT, TOO_LARGE; DTypeError UNSUPPORTED_DTYPE for requiresGrad of integers
 */
export function tensor(
  data: TensorData | readonly number[],
  shape: readonly number[] = [data.length],
  options: TensorOptions = {},
): Tensor {
  const array = Array.isArray(data) ? arrayOf(data as readonly number[], options.dtype) : (data as TensorData);
  requireShape('tensor', shape);
  if (numel(shape) !== array.length)
    throw new ShapeError(
      'DATA_LENGTH',
      `${where('tensor')}: ${array.length} values for shape ${formatShape(shape)} of ${numel(shape)}. Give as many values as the shape has.`,
    );
  const own = array instanceof Uint16Array && options.dtype === 'f16' ? 'f16' : dtypeOf(array);
  const dtype = options.dtype ?? own;
  if (options.requiresGrad === true && !isFloating(dtype))
    throw new DTypeError(
      'UNSUPPORTED_DTYPE',
      `${where('tensor')}: requiresGrad for ${dtype}${formatShape(shape)}. Gradients exist for floating types only; give dtype: 'f32'.`,
    );
  refuseCaptured('tensor', isCopied);
  let handle = engine.fromBytes(dtypeCode(own), new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  if (dtype !== own) {
    const converted = engine.cast(handle, dtypeCode(dtype));
    engine.release(handle);
    handle = converted;
  }
  const made = result('tensor', handle, { shape: [...shape], dtype, placement: 'replicated' as const });
  made.requiresGrad = options.requiresGrad ?? false;
  return made;
}
