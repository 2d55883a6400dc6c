import { ShapeError } from '@megatron-ts/errors';
import { where } from './where-in-model.ts';

/** The largest number of a layout. */
const largest = 2 ** 32 - 1;

/** Extents and strides as the engine reads them: 32-bit words. @throws ShapeError TOO_LARGE for a tensor whose strides are longer */
export function layoutWords(op: string, numbers: readonly number[]): Uint32Array {
  for (const number of numbers) requireWord(op, number);
  return Uint32Array.from(numbers);
}

/** Holds an extent, a stride or an offset against what a layout can say. @throws ShapeError TOO_LARGE */
export function requireWord(op: string, number: number): void {
  if (number <= largest) return;
  throw new ShapeError(
    'TOO_LARGE',
    `${where(op)}: an extent, a stride or an offset of ${number} elements is beyond the ${largest} that a view or a broadcast can have. Split the tensor.`,
  );
}
