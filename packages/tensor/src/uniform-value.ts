import type { AnyTensor } from './tensor.ts';

/** What is known of all elements of a tensor. A tensor that is written afterwards must be forgotten. */
const known = new WeakMap<AnyTensor, number>();

/** Notes that all elements of `tensor` are `value`: then nobody has to read them, for which a device would be waited for. */
export function noteUniform(tensor: AnyTensor, value: number): void {
  known.set(tensor, value);
}

/** Forgets it, before `tensor` is written. */
export function forgetUniform(tensor: AnyTensor): void {
  known.delete(tensor);
}

/** The value of all elements where it is known; undefined says nothing about them. */
export function knownUniform(tensor: AnyTensor): number | undefined {
  return known.get(tensor);
}
