import { ConfigError } from '@megatron-ts/errors';
import { ambient } from './ambient.ts';
import { Tape } from './tape.ts';
import { type AnyTensor, Tensor } from './tensor.ts';

/** An open region whose unreturned tensors are released when it closes. */
export class Scope {
  /** Tensors this scope holds one reference on. */
  readonly items: AnyTensor[] = [];
}

/** Keeps a callback from being asynchronous: a promise type becomes `never`. */
export type Synchronous<T> = T extends PromiseLike<unknown> ? never : T;

const idle: Scope[] = [];

/**
 * Runs `f` in a region of memory: tensors reachable from its result pass to the region around it (or to the caller,
 * who then disposes them), tensors saved by the tape live until backward consumes them, all others are released.
 * @throws ConfigError ASYNC_CALLBACK when `f` returns a promise: a region must not span an `await`.
 */
export function scope<T>(f: () => Synchronous<T>): T {
  const own = idle.pop() ?? new Scope();
  const outer = ambient.scope;
  const outerTape = ambient.tape;
  const tape = outer === undefined && outerTape === undefined ? new Tape() : undefined;
  ambient.scope = own;
  ambient.tape = outerTape ?? tape;
  let result: T | undefined;
  try {
    result = f() as T;
    if (isPromise(result)) throw asyncCallback(result);
    return result;
  } finally {
    ambient.scope = outer;
    ambient.tape = outerTape;
    tape?.dispose();
    close(own, outer, result);
  }
}

function close(own: Scope, outer: Scope | undefined, result: unknown): void {
  const { items } = own;
  const survivors = items.length === 0 || typeof result !== 'object' || result instanceof Tensor ? undefined : tensorsIn(result);
  for (const item of items) {
    if (item !== result && survivors?.has(item) !== true) item.release();
    else if (outer === undefined) item.watch();
    else outer.items.push(item);
  }
  items.length = 0;
  idle.push(own);
}

/** All tensors reachable from a result through arrays, Maps and plain objects. */
export function tensorsIn(value: unknown, found: Set<AnyTensor> = new Set()): Set<AnyTensor> {
  if (typeof value !== 'object' || value === null) return found;
  if (value instanceof Tensor) return found.add(value);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (Array.isArray(value)) for (const item of value) tensorsIn(item, found);
  else if (value instanceof Map) for (const item of value.values()) tensorsIn(item, found);
  else if (prototype === Object.prototype || prototype === null) for (const item of Object.values(value)) tensorsIn(item, found);
  return found;
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

function asyncCallback(promise: PromiseLike<unknown>): ConfigError {
  promise.then(undefined, () => undefined); // its own failure is not the cause
  return new ConfigError(
    'ASYNC_CALLBACK',
    'scope: the callback returned a promise, and a region of memory must not span an await. Await before the scope, or use a plain function.',
  );
}

/** Runs `f` without recording it for backward. */
export function noGrad<T>(f: () => T): T {
  const before = ambient.recording;
  ambient.recording = false;
  try {
    return f();
  } finally {
    ambient.recording = before;
  }
}

/** Runs `f` in a scope that records nothing, with dropout off. */
export function evaluate<T>(f: () => Synchronous<T>): T {
  const before = ambient.evaluating;
  ambient.evaluating = true;
  try {
    return noGrad(() => scope(f));
  } finally {
    ambient.evaluating = before;
  }
}

/** Adds an owner: the tensor outlives its scope until `dispose`. */
export function keep<T extends AnyTensor>(tensor: T): T {
  return tensor.retain();
}
