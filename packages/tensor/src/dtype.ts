/** Element types, in the order of the engine's codes. */
export const dtypes = ['f32', 'bf16', 'f16', 'f64', 'i32', 'i64', 'u8'] as const;

/** Element type of a tensor. */
export type DType = (typeof dtypes)[number];

/** Plain arrays a tensor can be made from. */
export type TensorData = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array;

const bytesOf: Record<DType, number> = { f32: 4, bf16: 2, f16: 2, f64: 8, i32: 4, i64: 8, u8: 1 };

/** The engine's number for `dtype`. */
export function dtypeCode(dtype: DType): number {
  return dtypes.indexOf(dtype);
}

/** Bytes of one element. */
export function bytesPerElement(dtype: DType): number {
  return bytesOf[dtype];
}

/** Whether gradients can flow through tensors of this type. */
export function isFloating(dtype: DType): boolean {
  return dtype === 'f32' || dtype === 'f64' || dtype === 'bf16' || dtype === 'f16';
}

/** The element type a plain array stands for; 16-bit words hold bf16 unless `dtype` says otherwise. */
export function dtypeOf(data: TensorData): DType {
  if (data instanceof Float32Array) return 'f32';
  if (data instanceof Float64Array) return 'f64';
  if (data instanceof Int32Array) return 'i32';
  if (data instanceof BigInt64Array) return 'i64';
  return data instanceof Uint8Array ? 'u8' : 'bf16';
}
