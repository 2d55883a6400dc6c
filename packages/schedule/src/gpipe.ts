import { backward, forward } from './action.ts';
import { type PipelineOptions, requirePipelineSizes } from './pipeline-options.ts';
import type { Schedule } from './schedule.ts';
import { scheduleFromCompute } from './schedule-from-compute.ts';

/**
 * GPipe: all forward passes, then all backward passes, both in microbatch order. Each stage holds the activations of every microbatch.
 * @throws ConfigError INVALID_OPTION
 * @source Huang et al., GPipe (NeurIPS 2019).
 */
export function gpipe({ numStages, numMicrobatches }: PipelineOptions): Schedule {
  requirePipelineSizes('gpipe', { numStages, numMicrobatches });
  const microbatches = Array.from({ length: numMicrobatches }, (_, microbatch) => microbatch);
  const steps = [...microbatches.map((m) => forward(m)), ...microbatches.map((m) => backward(m))];
  const lists = Array.from({ length: numStages }, () => steps);
  return scheduleFromCompute('gpipe', lists, { peakActivations: lists.map(() => numMicrobatches) });
}
