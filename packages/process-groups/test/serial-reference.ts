import type { ReduceOp } from '@megatron-ts/process-groups';
import { type AnyTensor, type DType, scope, tensor, type TensorData } from '@megatron-ts/tensor';

/** Values of a tensor, 64-bit integers as bigint. */
export type Values = readonly (number | bigint)[];

/** Numbers that differ on every rank, with fractions that no power of two holds, so that another order of sums has other bits. */
export function valuesOf(rank: number, count: number, dtype: DType): TensorData {
  const number = (i: number) => Math.sin(1 + i * 0.7 + rank * 2.3) * (1 + ((i * 5 + rank * 3) % 7));
  const whole = (i: number) => Math.round(number(i) * 1e5);
  if (dtype === 'i32') return Int32Array.from({ length: count }, (_, i) => whole(i));
  if (dtype === 'i64') return BigInt64Array.from({ length: count }, (_, i) => BigInt(whole(i)) * 1_000_003n);
  if (dtype === 'u8') return Uint8Array.from({ length: count }, (_, i) => whole(i));
  if (dtype === 'f64') return Float64Array.from({ length: count }, (_, i) => number(i));
  return Float32Array.from({ length: count }, (_, i) => number(i));
}

/** The tensor a rank puts in: `[count / width, width]`. */
export function inputOf(rank: number, [rows, width = 1]: readonly [number, number?], dtype: DType): AnyTensor {
  return tensor(valuesOf(rank, rows * width, dtype), width === 1 ? [rows] : [rows, width], { dtype });
}

/** What a tensor holds; bf16 and f16 as the numbers they stand for. */
export function read(t: AnyTensor): Values {
  return [...(t.toArray() as Iterable<number | bigint>)];
}

/** The values a rank puts in, rounded to their dtype. */
export function valuesIn(rank: number, count: number, dtype: DType): Values {
  return scope(() => read(inputOf(rank, [count], dtype)));
}

type Arithmetic<N> = Record<'sum' | 'product' | 'max' | 'min', (a: N, b: N) => N>;

const inF64: Arithmetic<number> = { sum: (a, b) => a + b, product: (a, b) => a * b, max: Math.max, min: Math.min };
const inI32: Arithmetic<number> = { ...inF64, sum: (a, b) => (a + b) | 0, product: Math.imul };
const inU8: Arithmetic<number> = { ...inF64, sum: (a, b) => a + b, product: (a, b) => Math.imul(a, b) >>> 0 };
const inI64: Arithmetic<bigint> = {
  sum: (a, b) => BigInt.asIntN(64, a + b),
  product: (a, b) => BigInt.asIntN(64, a * b),
  max: (a, b) => (a > b ? a : b),
  min: (a, b) => (a < b ? a : b),
};
const inF32: Arithmetic<number> = { ...inF64, sum: (a, b) => Math.fround(a + b), product: (a, b) => Math.fround(a * b) };

function arithmeticOf(dtype: DType): Arithmetic<number> {
  if (dtype === 'f64') return inF64;
  if (dtype === 'u8') return inU8;
  return dtype === 'i32' ? inI32 : inF32;
}

/** One element of each rank becomes one, ((r0 + r1) + r2) + …; bf16 and f16 are summed in f32 and rounded once, by the caller. */
function reduceOne(column: Values, op: ReduceOp, dtype: DType): number | bigint {
  const name = op === 'avg' ? 'sum' : op;
  if (dtype === 'i64') {
    const total = (column as bigint[]).reduce(inI64[name]);
    return op === 'avg' ? total / BigInt(column.length) : total;
  }
  const total = (column as number[]).reduce((a, b) => arithmeticOf(dtype)[name](a, b));
  const result = op === 'avg' ? total / column.length : total;
  if (dtype === 'f64') return result;
  if (dtype === 'u8') return Math.trunc(result) & 0xff;
  return dtype === 'i32' ? Math.trunc(result) : Math.fround(result);
}

/** What a reduction over ranks gives, one rank after another on one thread. */
export function serialReduction(inputs: readonly Values[], op: ReduceOp, dtype: DType): Values {
  const length = inputs[0]?.length ?? 0;
  const reduced = Array.from({ length }, (_, i) =>
    reduceOne(
      inputs.map((values) => values[i] ?? 0),
      op,
      dtype,
    ),
  );
  if (dtype !== 'bf16' && dtype !== 'f16') return reduced;
  return scope(() => read(tensor(Float32Array.from(reduced as number[]), [length], { dtype })));
}

/** Where two lists first differ by a bit, if they do. */
export function firstDifference(actual: Values, expected: Values): string | undefined {
  if (actual.length !== expected.length) return `${actual.length} values instead of ${expected.length}`;
  const at = actual.findIndex((value, i) => !Object.is(value, expected[i]));
  return at === -1 ? undefined : `value ${at} is ${actual[at]} instead of ${expected[at]}`;
}
