import { engine } from './engine.ts';
import type { AnyTensor } from './tensor.ts';

/** Which indices there are. */
export interface IndexRange {
  /** Their number: they count from 0. */
  readonly extent: number;
  /** A number that is let pass; none by default. */
  readonly ignored?: number | undefined;
}

/** An index that is not there. */
export interface Outside {
  readonly index: number;
  /** Where it stands among the indices. */
  readonly position: number;
}

/**
 * The first of the indices (i32) that is not in 0 … extent - 1; undefined where all are. On a device nobody waits for the answer: it is
 * undefined, and the operation that reads a value next refuses what was found meanwhile.
 */
export function firstOutside(indices: AnyTensor, { extent, ignored }: IndexRange): Outside | undefined {
  const position = engine.firstOutside(indices.handle, extent, ignored ?? Number.NaN);
  if (position < 0) return undefined;
  return { index: indices.toArray<'i32'>()[position] ?? 0, position };
}
