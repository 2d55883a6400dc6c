import { memoryCategories, memoryStats } from '@megatron-ts/tensor';
import { formatBytes } from './format-quantity.ts';
import { textTable } from './text-table.ts';

/**
 * This rank's native memory as a table: bytes in use now and at most, for each use that has had any, for all tensors together, and what the
 * system has given. Peaks of different uses need not have been at one time.
 */
export function memorySummary(): string {
  const { liveBytes, peakBytes, reservedBytes, byCategory } = memoryStats();
  const used = memoryCategories.filter((category) => byCategory[category].peakBytes > 0);
  const row = (name: string, live: number, peak: number) => [name, formatBytes(live), formatBytes(peak)];
  return textTable(
    [
      ['memory', 'live', 'peak'],
      ...used.map((category) => row(category, byCategory[category].liveBytes, byCategory[category].peakBytes)),
      row('all tensors', liveBytes, peakBytes),
      ['reserved', formatBytes(reservedBytes)],
    ],
    1,
  );
}
