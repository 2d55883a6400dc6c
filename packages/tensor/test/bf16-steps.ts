import { scope, tensor } from '@megatron-ts/tensor';

const float = new Float32Array(1);
const word = new Int32Array(float.buffer);

/** `values` rounded to bf16, nearest even. */
export function rounded(values: Float32Array): Float32Array {
  return scope(() => tensor(values, [values.length], { dtype: 'bf16' }).toArray() as Float32Array);
}

/** Place of a bf16 number on the line of all of them: neighbours differ by one. */
function placeOf(value: number): number {
  float[0] = value;
  const place = (word[0] ?? 0) >> 16;
  return place < 0 ? -32_768 - place : place;
}

/**
 * Asserts that bf16 numbers are those of f32 rounded once, or at most `steps` neighbours away where sums run in another order. Below
 * `floor` times the largest number, sums may cancel, and the difference is measured against that.
 */
export function expectRoundedOnce(
  actual: Float32Array,
  exact: Float32Array,
  { steps = 0, floor = 0 }: { readonly steps?: number; readonly floor?: number } = {},
): void {
  const expected = rounded(exact);
  const small = floor * expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  if (actual.length !== expected.length) throw new RangeError(`${actual.length} numbers beside ${expected.length}`);
  actual.forEach((value, i) => {
    const want = expected[i] ?? 0;
    const apart = Math.abs(placeOf(value) - placeOf(want));
    if (apart <= steps || Math.abs(value - want) <= small) return;
    throw new RangeError(`element ${i}: ${value} is ${apart} steps of bf16 from ${want}, at most ${steps} are allowed`);
  });
}
