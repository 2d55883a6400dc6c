import { ConfigError } from '@megatron-ts/errors';
import { nearestMultiples } from './nearest-multiples.ts';
import { positiveIntegerProblems } from './positive-integers.ts';

/** Samples per step, per forward pass, and the number of data-parallel ranks that share them. */
export interface MicrobatchConfig {
  /** Samples that one step sees over all ranks. */
  readonly globalBatchSize: number;
  /** Samples of one forward pass on one rank. */
  readonly microbatchSize: number;
  /** Ranks that share the samples of a step. */
  readonly dataParallelSize: number;
}

/** How a global batch falls into microbatches. */
export interface MicrobatchPlan {
  /** Microbatches of each data-parallel rank in one step: globalBatchSize / (microbatchSize x dataParallelSize). */
  readonly numMicrobatches: number;
  /** Samples of each data-parallel rank in one step. */
  readonly samplesPerRank: number;
}

/**
 * Divides a global batch over data-parallel ranks and microbatches.
 * @throws ConfigError INDIVISIBLE, INVALID_OPTION
 */
export function microbatchPlan({ globalBatchSize, microbatchSize, dataParallelSize }: MicrobatchConfig): MicrobatchPlan {
  const fields = { globalBatchSize, microbatchSize, dataParallelSize };
  const problems = positiveIntegerProblems(fields);
  if (problems.length > 0) throw new ConfigError('INVALID_OPTION', `microbatches: ${problems.join(' ')}`, { fields });
  const atOnce = microbatchSize * dataParallelSize;
  if (globalBatchSize % atOnce !== 0) {
    const sentence =
      `microbatches: globalBatchSize ${globalBatchSize} is not divisible by microbatchSize ${microbatchSize} x data-parallel size `
      + `${dataParallelSize} = ${atOnce}. Use ${nearestMultiples(globalBatchSize, atOnce)}.`;
    throw new ConfigError('INDIVISIBLE', sentence, { fields });
  }
  return Object.freeze({ numMicrobatches: globalBatchSize / atOnce, samplesPerRank: globalBatchSize / dataParallelSize });
}
