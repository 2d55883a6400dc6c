import type { Rectangle } from '@megatron-ts/core';
import type { Held } from './recording.ts';

/** A tensor of the model, put together from what the ranks hold. */
interface Whole {
  readonly shape: readonly number[];
  readonly values: Float32Array;
  /** One more than the rank that wrote each element; 0 where none has. */
  readonly writer: Uint8Array;
}

/** What a rank holds of a tensor. */
interface Part {
  readonly name: string;
  readonly rank: number;
  readonly rectangle: Rectangle;
  readonly held: Held;
}

/**
 * The model's tensors by name, put together from the rectangles that each rank holds.
 * @throws RangeError where two ranks hold different bits of one element, or where none holds it
 */
export function wholeTensors(ranks: readonly (readonly Held[])[]): Map<string, Float32Array> {
  const found = new Map<string, Whole>();
  for (const [rank, parts] of ranks.entries())
    for (const held of parts)
      for (const { suffix, globalShape, rectangles } of held.logical) {
        const name = suffix === '' ? held.name : `${held.name}.${suffix}`;
        const whole = found.get(name) ?? unwritten(globalShape);
        found.set(name, whole);
        for (const rectangle of rectangles) write(whole, { name, rank, rectangle, held });
      }
  for (const [name, { writer }] of found) {
    const hole = writer.indexOf(0);
    if (hole >= 0) throw new RangeError(`${name}: no rank holds element ${hole}.`);
  }
  return new Map([...found].map(([name, { values }]) => [name, values]));
}

function unwritten(shape: readonly number[]): Whole {
  const count = shape.reduce((product, extent) => product * extent, 1);
  return { shape, values: new Float32Array(count), writer: new Uint8Array(count) };
}

/** Writes a rectangle row by row, or compares it with what another rank wrote. */
function write(whole: Whole, { name, rank, rectangle, held }: Part): void {
  const { globalOffset, localOffset, extent } = rectangle;
  const width = extent.at(-1) ?? 1;
  const rows = extent.slice(0, -1).reduce((product, size) => product * size, 1);
  for (let row = 0; row < rows; row++) {
    const index = indexOfRow(row, extent);
    const to = flatten(index, globalOffset, whole.shape);
    const from = flatten(index, localOffset, held.shape);
    for (let i = 0; i < width; i++) {
      const value = held.values[from + i] ?? Number.NaN;
      const writer = whole.writer[to + i] ?? 0;
      const there = whole.values[to + i] ?? Number.NaN;
      if (writer > 0 && !Object.is(there, value))
        throw new RangeError(`${name}, element ${to + i}: rank ${writer - 1} holds ${there}, and rank ${rank} ${value}.`);
      whole.values[to + i] = value;
      whole.writer[to + i] = rank + 1;
    }
  }
}

/** Index of the first element of a row of a box. */
function indexOfRow(row: number, extent: readonly number[]): number[] {
  const index = extent.map(() => 0);
  let rest = row;
  for (let dim = extent.length - 2; dim >= 0; dim--) {
    const size = extent[dim] ?? 1;
    index[dim] = rest % size;
    rest = Math.floor(rest / size);
  }
  return index;
}

function flatten(index: readonly number[], offset: readonly number[], shape: readonly number[]): number {
  return shape.reduce((sum, size, dim) => sum * size + (index[dim] ?? 0) + (offset[dim] ?? 0), 0);
}
