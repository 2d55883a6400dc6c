import { engine } from './engine.ts';
import { flushReleases } from './storage-release.ts';

/** Native memory of this process's tensors, in bytes. */
export interface MemoryStats {
  /** Bytes in use by live tensors. */
  readonly liveBytes: number;
  /** Most bytes in use at once since the start or the last `resetPeakMemory`. */
  readonly peakBytes: number;
  /** Bytes kept for reuse. */
  readonly cachedBytes: number;
  /** Number of live handles. */
  readonly liveHandles: number;
  /** Buffers given out so far, reused ones among them. */
  readonly allocations: number;
}

/** Native memory now, pending releases sent first. */
export function memoryStats(): MemoryStats {
  flushReleases();
  return engine.memoryStats();
}

/** Starts a new measurement of `peakBytes`. */
export function resetPeakMemory(): void {
  flushReleases();
  engine.resetPeak();
}
