import { engine } from './engine.ts';
import { flushReleases } from './storage-release.ts';

/** What the device of this rank was asked for since it was opened. */
export interface DeviceStats {
  /** Such as `cuda:0`. */
  readonly name: string;
  /** Bytes in use by live tensors there. */
  readonly liveBytes: number;
  /** Most bytes in use by live tensors there at once since the start or the last `resetPeakMemory`. */
  readonly peakBytes: number;
  /** Blocks of memory that live, working memory among them. */
  readonly liveBlocks: number;
  /** Blocks given out. */
  readonly allocations: number;
  /** Bytes that the driver keeps and nobody uses. */
  readonly cachedBytes: number;
  /** Kernels launched; matrix products are counted apart. */
  readonly launches: number;
  /** Matrix products. */
  readonly products: number;
  /** Passes of attention, forward and backward, that cuDNN was asked for. */
  readonly cudnnAttentions: number;
  /** Why the last of the other passes was left to our kernels; absent where none was. */
  readonly whyKernels?: string | undefined;
  /** Graphs launched; the kernels and products of a captured step are counted once, when it is captured. */
  readonly graphLaunches: number;
  /** Tensors and numbers that were read: the only points at which the host waits for the device. */
  readonly reads: number;
  /** How often the host had to wait. */
  readonly synchronizations: number;
}

/** What the device of this rank was asked for, pending releases sent first; undefined on the CPU. */
export function deviceStats(): DeviceStats | undefined {
  flushReleases();
  const stats = engine.deviceStats();
  if (stats === null) return undefined;
  const { name, liveBytes, peakBytes, liveBlocks, allocations, cachedBytes, ...rest } = stats;
  const { launches, products, graphLaunches, cudnnAttentions, whyKernels, reads, synchronizations } = rest;
  const asked = { launches, products, graphLaunches, cudnnAttentions, whyKernels, reads, synchronizations };
  return { name, liveBytes, peakBytes, liveBlocks, allocations, cachedBytes, ...asked };
}
