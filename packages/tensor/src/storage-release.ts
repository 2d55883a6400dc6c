import { engine } from './engine.ts';

const queue = new Uint32Array(32);
let queued = 0;

/** Puts a handle up for release; the engine gets them in batches, one crossing for many. */
export function releaseHandle(handle: number): void {
  queue[queued++] = handle;
  if (queued === queue.length) flushReleases();
}

/** Sends pending releases to the engine. */
export function flushReleases(): void {
  if (queued === 0) return;
  const count = queued;
  queued = 0;
  engine.releaseMany(queue, count);
}

/** Releases what was made outside every scope and has become unreachable, as in a REPL. */
const unscoped = new FinalizationRegistry<number>((handle) => releaseHandle(handle));

/** Lets the collector release `handle` when `owner` has become unreachable. */
export function watchHandle(owner: object, handle: number): void {
  unscoped.register(owner, handle, owner);
}

/** Ends the watch: the owner releases the handle itself. */
export function unwatchHandle(owner: object): void {
  unscoped.unregister(owner);
}
