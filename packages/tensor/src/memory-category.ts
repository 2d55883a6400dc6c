import { type DType, dtypeCode } from './dtype.ts';
import { engine } from './engine.ts';
import { numel } from './shape.ts';
import type { AnyTensor } from './tensor.ts';

/** What memory is used for, in the order of the engine's codes. */
export const memoryCategories = ['parameters', 'gradients', 'optimizer', 'activations', 'workspace', 'communication'] as const;

/**
 * A use of memory: values of `parameters`, their `gradients`, what an `optimizer` keeps, `activations` (results of operations and what
 * backward needs of them), the `workspace` that the engine's threads keep, and what collectives send from and receive into.
 */
export type MemoryCategory = (typeof memoryCategories)[number];

/** Runs `f`; tensors that it makes count under `category` instead of `activations`. */
export function inCategory<T>(category: MemoryCategory, f: () => T): T {
  const before = engine.setMemoryCategory(memoryCategories.indexOf(category));
  try {
    return f();
  } finally {
    engine.setMemoryCategory(before);
  }
}

/** The engine's number for memory of `shape`, not filled yet, that counts under `category`. */
export function emptyIn(category: MemoryCategory, shape: readonly number[], dtype: DType): number {
  return engine.emptyIn(dtypeCode(dtype), numel(shape), memoryCategories.indexOf(category));
}

/** Counts the memory in which `tensor` lies under `category` from now on; views share it and move along. */
export function categorize(tensor: AnyTensor, category: MemoryCategory): void {
  engine.categorize(tensor.handle, memoryCategories.indexOf(category));
}
