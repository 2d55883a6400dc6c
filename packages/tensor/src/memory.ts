import { engine } from './engine.ts';
import { memoryCategories, type MemoryCategory } from './memory-category.ts';
import { flushReleases } from './storage-release.ts';

/** Bytes of one use of memory. */
export interface MemoryUsage {
  /** Bytes in use. */
  readonly liveBytes: number;
  /** Most bytes in use at once since the start or the last `resetPeakMemory`. */
  readonly peakBytes: number;
}

/**
 * Native memory of this process (of this rank, unless ranks are threads of one process) and of its device, together: a peak is then at
 * most the sum of both.
 */
export interface MemoryStats extends MemoryUsage {
  /** Bytes in use by live tensors: every category but the workspace. */
  readonly liveBytes: number;
  /** Most bytes in use by live tensors at once since the start or the last `resetPeakMemory`. */
  readonly peakBytes: number;
  /** Bytes that the system has given; pages among them that were never touched cost nothing. */
  readonly reservedBytes: number;
  /** Reserved bytes that nobody uses now: kept for reuse, or lost between blocks. */
  readonly cachedBytes: number;
  /** Number of live handles. */
  readonly liveHandles: number;
  /** Buffers given out so far, reused ones among them. */
  readonly allocations: number;
  /** Requests to the system for memory so far; they stand still once a training loop has found its sizes. */
  readonly systemCalls: number;
  /** Bytes by use; each peak is that of the category alone, so their sum may exceed `peakBytes`. */
  readonly byCategory: Readonly<Record<MemoryCategory, MemoryUsage>>;
}

/** Native memory now, pending releases sent first. */
export function memoryStats(): MemoryStats {
  flushReleases();
  const { liveByCategory, peakByCategory, ...stats } = engine.memoryStats();
  const used = liveByCategory.reduce((sum, bytes) => sum + bytes, 0);
  const device = engine.deviceStats();
  const usages = memoryCategories.map((name, code) => {
    const liveBytes = (liveByCategory[code] ?? 0) + (device?.liveByCategory[code] ?? 0);
    const peakBytes = (peakByCategory[code] ?? 0) + (device?.peakByCategory[code] ?? 0);
    return [name, { liveBytes, peakBytes }] as const;
  });
  const byCategory = Object.fromEntries(usages) as Record<MemoryCategory, MemoryUsage>;
  const host = { ...stats, cachedBytes: stats.reservedBytes - used, byCategory };
  return device === null ? host : withDevice(host, device);
}

type OfDevice = NonNullable<ReturnType<typeof engine.deviceStats>>;

function withDevice(host: MemoryStats, device: OfDevice): MemoryStats {
  const used = device.liveByCategory.reduce((sum, bytes) => sum + bytes, 0);
  return {
    ...host,
    liveBytes: host.liveBytes + device.liveBytes,
    peakBytes: host.peakBytes + device.peakBytes,
    reservedBytes: host.reservedBytes + used + device.cachedBytes,
    cachedBytes: host.cachedBytes + device.cachedBytes,
    allocations: host.allocations + device.allocations,
  };
}

/** Starts a new measurement of all peaks. */
export function resetPeakMemory(): void {
  flushReleases();
  engine.resetPeak();
}

/**
 * Gives free memory back to the system, as far as whole regions of it are free. A training loop does better without: it would ask for
 * the same memory again.
 */
export function emptyCache(): void {
  flushReleases();
  engine.trimCache();
}
