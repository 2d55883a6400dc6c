import { ConfigError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';

/** An option that is cut over the tensor-parallel ranks. */
export interface DividedSize {
  /** Layer that has the option, as the sentence begins. */
  readonly layer: string;
  /** Name of the option. */
  readonly option: string;
  /** Its value. */
  readonly size: number;
  /** Ranks that share it. */
  readonly tpGroup: ProcessGroup;
}

/**
 * This rank's share of `size`.
 * @throws ConfigError INVALID_OPTION, INDIVISIBLE
 */
export function divideOverRanks({ layer, option, size, tpGroup }: DividedSize): number {
  requireSizes(layer, { [option]: size });
  const ranks = tpGroup.size;
  if (size % ranks === 0) return size / ranks;
  const padded = Math.ceil(size / ranks) * ranks;
  const sentence =
    `${layer}: ${option} ${size} is not divisible by tensorModelParallelSize ${ranks}. `
    + `Use ${divisorsOf(size, Math.max(8, ranks))}, or pad ${option} to ${padded}.`;
  throw new ConfigError('INDIVISIBLE', sentence, { fields: { option, size, tensorModelParallelSize: ranks } });
}

/** @throws ConfigError INVALID_OPTION for the first size that is not a whole number of at least 1 */
export function requireSizes(layer: string, sizes: Readonly<Record<string, number>>): void {
  for (const [option, size] of Object.entries(sizes)) {
    if (Number.isSafeInteger(size) && size >= 1) continue;
    const sentence = `${layer}: ${option} is ${size}. Use a whole number of at least 1.`;
    throw new ConfigError('INVALID_OPTION', sentence, { fields: { option, size } });
  }
}

/** `1, 2, 4 or 8` */
function divisorsOf(size: number, limit: number): string {
  const found = Array.from({ length: limit }, (_, i) => i + 1).filter((divisor) => size % divisor === 0);
  return found.length === 1 ? `${found[0]}` : `${found.slice(0, -1).join(', ')} or ${found.at(-1)}`;
}
