import { bytesPerElement, dtypeCode, dtypes, engine, scope, tensor, type TensorData } from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';

const read = (x: { toArray(): unknown }) => [...(x.toArray() as Float32Array)] as (number | bigint)[];
const cast = (values: number[], dtype: (typeof dtypes)[number]) => scope(() => read(tensor(values, [values.length], { dtype })));

describe('dtypes', () => {
  it('have codes and sizes', () => {
    expect(dtypes.map(dtypeCode)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(dtypes.map(bytesPerElement)).toEqual([4, 2, 2, 8, 4, 8, 1]);
  });

  it.each([
    ['f32', Float32Array.of(1.5, -0, 3.4e38, Number.NaN, Number.NEGATIVE_INFINITY, 1e-45)],
    ['f64', Float64Array.of(0.1, -1e300, 5e-324)],
    ['i32', Int32Array.of(0, -1, 2 ** 31 - 1, -(2 ** 31))],
    ['i64', BigInt64Array.of(0n, -1n, 2n ** 63n - 1n, -(2n ** 63n))],
    ['u8', Uint8Array.of(0, 1, 255)],
  ] as [string, TensorData][])('%s comes back as it went in', (dtype, data) => {
    scope(() => {
      const x = tensor(data);
      expect(x.dtype).toBe(dtype);
      expect(x.bytes).toBe(data.byteLength);
      expect(x.toArray()).toEqual(data);
      expect(x.reshape([data.length, 1]).mul === undefined ? [] : x.detach().toArray()).toEqual(data);
    });
  });

  it('a view of a larger array is read at its place', () => {
    scope(() => expect(read(tensor(new Float32Array(8).map((_, i) => i).subarray(3, 6)))).toEqual([3, 4, 5]));
  });

  it('bf16 keeps what it can hold and rounds the rest to nearest even', () => {
    expect(cast([1, -2.5, 256, 257, 259, 1.00390625, 1.01171875, 3.4e38], 'bf16')).toEqual([
      1,
      -2.5,
      256,
      256,
      260,
      1,
      1.015625,
      Number.POSITIVE_INFINITY,
    ]);
    expect(cast([Number.NaN, Number.POSITIVE_INFINITY, -0], 'bf16')).toEqual([Number.NaN, Number.POSITIVE_INFINITY, -0]);
  });

  it('f16 keeps what it can hold, rounds to nearest even, and overflows to infinity', () => {
    expect(cast([1, -2.5, 2048, 2049, 2051, 65504, 65519, 65520, -70000], 'f16')).toEqual([
      1,
      -2.5,
      2048,
      2048,
      2052,
      65504,
      65504,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]);
    expect(cast([2 ** -24, 2 ** -25, 1.5 * 2 ** -24, 2 ** -14], 'f16')).toEqual([2 ** -24, 0, 2 ** -23, 2 ** -14]);
  });

  it('all 16-bit patterns survive the way through f32', () => {
    const bits = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    for (const dtype of ['bf16', 'f16'] as const)
      scope(() => {
        const x = tensor(bits, [bits.length], { dtype });
        expect(x.dtype).toBe(dtype);
        const back = x.to('f32').to(dtype);
        const raw = (y: typeof x) => {
          const bytes = new Uint8Array(y.bytes);
          engine.toBytes(y.handle, bytes);
          return new Uint16Array(bytes.buffer);
        };
        const values = read(x);
        const [own, gone] = [raw(x), raw(back)];
        expect(own).toEqual(bits);
        const changed = gone.filter((word, i) => word !== own[i] && !Number.isNaN(values[i]));
        expect(changed).toHaveLength(0);
      });
  });

  it('numbers become the dtype without a detour through f32', () => {
    expect(cast([0.1, 1e300], 'f64')).toEqual([0.1, 1e300]);
    expect(cast([2 ** 24 + 1, -(2 ** 31)], 'i32')).toEqual([2 ** 24 + 1, -(2 ** 31)]);
    expect(cast([2 ** 40 + 1], 'i64')).toEqual([BigInt(2 ** 40 + 1)]);
  });

  it('floats are truncated on the way to integers', () => {
    expect(cast([1.9, -1.9, 0.5, -0.5], 'i32')).toEqual([1, -1, 0, 0]);
    expect(cast([1.9, 254.99], 'u8')).toEqual([1, 254]);
  });

  it('integers of 64 bits go through no float on the way to i32 and back', () => {
    scope(() => {
      const x = tensor(Int32Array.of(2 ** 31 - 1, -(2 ** 31) + 1));
      expect(read(x.to('i64'))).toEqual([2n ** 31n - 1n, -(2n ** 31n) + 1n]);
      expect(read(x.to('i64').to('i32'))).toEqual(read(x));
    });
  });

  it('the same dtype is the same tensor', () => {
    scope(() => {
      const x = tensor([1]);
      expect(x.to('f32')).toBe(x);
    });
  });

  it('gradients flow through casts between floating types', () => {
    scope(() => {
      const x = tensor([1, 2], [2], { requiresGrad: true });
      x.to('f64').mul(3).to('bf16').to('f32').sum().backward();
      expect(read(x.grad as typeof x)).toEqual([3, 3]);
      expect(x.to('i32').requiresGrad).toBe(false);
    });
  });
});
