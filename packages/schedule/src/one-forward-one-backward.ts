import { backward, type ComputeStep, forward } from './action.ts';
import { type PipelineOptions, requirePipelineSizes } from './pipeline-options.ts';
import type { Schedule } from './schedule.ts';
import { scheduleFromCompute } from './schedule-from-compute.ts';

/**
 * 1F1B: fill the pipeline, alternate one forward and one backward, then drain. A stage holds the activations of at most numStages -
 * stage microbatches.
 * @throws ConfigError INVALID_OPTION
 * @source Narayanan et al., PipeDream (SOSP 2019); with a flush in Narayanan et al. (SC 2021), the default schedule.
 */
export function oneForwardOneBackward({ numStages, numMicrobatches }: PipelineOptions): Schedule {
  requirePipelineSizes('oneForwardOneBackward', { numStages, numMicrobatches });
  const stages = Array.from({ length: numStages }, (_, stage) => stage);
  const lists = stages.map((stage) => stageSteps(Math.min(numStages - stage - 1, numMicrobatches), numMicrobatches));
  return scheduleFromCompute('1f1b', lists, { peakActivations: stages.map((stage) => Math.min(numMicrobatches, numStages - stage)) });
}

function stageSteps(numWarmup: number, numMicrobatches: number): ComputeStep[] {
  const steps: ComputeStep[] = [];
  for (let m = 0; m < numWarmup; m++) steps.push(forward(m));
  for (let m = numWarmup; m < numMicrobatches; m++) steps.push(forward(m), backward(m - numWarmup));
  for (let m = numMicrobatches - numWarmup; m < numMicrobatches; m++) steps.push(backward(m));
  return steps;
}
