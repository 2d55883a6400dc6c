import { engine } from './engine.ts';

/** Bytes from which on a release does not wait for others: the next operation finds the memory, which caches still hold. */
const large = 2 ** 16;

const queue = new Uint32Array(32);
let queued = 0;

/** Puts the handle of `bytes` bytes up for release; the engine gets small ones in batches, one crossing for many. */
export function releaseHandle(handle: number, bytes: number): void {
  queue[queued++] = handle;
  if (bytes >= large || queued === queue.length) flushReleases();
}

/** Sends pending releases to the engine. */
export function flushReleases(): void {
  if (queued === 0) return;
  const count = queued;
  queued = 0;
  engine.releaseMany(queue, count);
}

/** Releases what was made outside every scope and has become unreachable, as in a REPL. */
const unscoped = new FinalizationRegistry<number>((handle) => releaseHandle(handle, large));

/** Lets the collector release `handle` when `owner` has become unreachable. */
export function watchHandle(owner: object, handle: number): void {
  unscoped.register(owner, handle, owner);
}

/** Ends the watch: the owner releases the handle itself. */
export function unwatchHandle(owner: object): void {
  unscoped.unregister(owner);
}
