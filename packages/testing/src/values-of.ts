/** Something whose values can be read into an array, such as a tensor. */
export interface Readout {
  /** The values, in row-major order. */
  toArray(): ArrayLike<number> | ArrayLike<bigint>;
}

/** Numbers to compare: an array, a typed array, or something that can be read into one. 64-bit integers are compared as doubles. */
export type Numbers = ArrayLike<number> | Readout;

/** The numbers themselves. */
export function valuesOf(numbers: Numbers): ArrayLike<number> {
  const values = 'toArray' in numbers ? numbers.toArray() : numbers;
  return typeof values[0] === 'bigint' ? Array.from(values as ArrayLike<bigint>, Number) : (values as ArrayLike<number>);
}
