import { forward } from './action.ts';
import { type PipelineOptions, requirePipelineSizes } from './pipeline-options.ts';
import type { Schedule } from './schedule.ts';
import { scheduleFromCompute } from './schedule-from-compute.ts';

/**
 * Forward passes alone, in microbatch order: evaluation and inference. No activation outlives its pass.
 * @throws ConfigError INVALID_OPTION
 */
export function forwardOnly({ numStages, numMicrobatches }: PipelineOptions): Schedule {
  requirePipelineSizes('forwardOnly', { numStages, numMicrobatches });
  const steps = Array.from({ length: numMicrobatches }, (_, microbatch) => forward(microbatch));
  return scheduleFromCompute(
    'forward only',
    Array.from({ length: numStages }, () => steps),
  );
}
