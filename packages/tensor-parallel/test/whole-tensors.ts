import type { Stored } from './ranks/observe.ts';

/** The whole tensors of a model, by name, put together from what each rank holds. Parts that several ranks hold must agree bit for bit. */
export function wholeTensors(ranks: readonly (readonly Stored[])[]): Map<string, Float32Array> {
  const found = new Map<string, Float32Array>();
  for (const parts of ranks) {
    for (const { name, shape, logical, values } of parts) {
      for (const { suffix, globalShape, rectangles } of logical) {
        const key = suffix === '' ? name : `${name}.${suffix}`;
        const whole = found.get(key) ?? new Float32Array(globalShape.reduce((a, b) => a * b, 1)).fill(Number.NaN);
        found.set(key, whole);
        for (const { globalOffset, localOffset, extent } of rectangles)
          for (const index of indices(extent)) {
            const at = flat(index, globalOffset, globalShape);
            const value = values[flat(index, localOffset, shape)] ?? Number.NaN;
            const before = whole[at] ?? Number.NaN;
            if (!Number.isNaN(before) && !Object.is(before, value))
              throw new RangeError(`${key}[${index.join(', ')}]: one rank holds ${before}, another ${value}.`);
            whole[at] = value;
          }
      }
    }
  }
  return found;
}

function* indices(extent: readonly number[]): Generator<number[]> {
  const [first, ...rest] = extent;
  if (first === undefined) return yield [];
  for (let i = 0; i < first; i++) for (const tail of indices(rest)) yield [i, ...tail];
}

function flat(index: readonly number[], offset: readonly number[], shape: readonly number[]): number {
  return index.reduce((sum, at, dim) => sum * (shape[dim] ?? 0) + at + (offset[dim] ?? 0), 0);
}
