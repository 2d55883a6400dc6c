import { ConfigError } from '@megatron-ts/errors';

/** The sizes every generator takes. */
export interface PipelineOptions {
  /** Pipeline stages, one per rank. */
  readonly numStages: number;
  /** Microbatches of one step. */
  readonly numMicrobatches: number;
}

/** @throws ConfigError INVALID_OPTION for a size that is not a whole number of at least 1. */
export function requirePipelineSizes(where: string, { numStages, numMicrobatches }: PipelineOptions): void {
  for (const [name, size] of Object.entries({ numStages, numMicrobatches })) {
    if (Number.isSafeInteger(size) && size >= 1) continue;
    throw new ConfigError('INVALID_OPTION', `${where}: ${name} is ${size}. Use a whole number of at least 1.`, {
      fields: { numStages, numMicrobatches },
    });
  }
}
