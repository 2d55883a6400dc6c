/**
 * From what each rank computes to a whole schedule: stages are filled in from the placement, communication is added, and the result is
 * proven.
 */
import { ConfigError } from '@megatron-ts/errors';
import type { Action, ComputeAction, ComputeStep, Step } from './action.ts';
import { assertProven } from './assert-schedule.ts';
import { computationProblems } from './check-computations.ts';
import { checkSchedule } from './check-schedule.ts';
import { stepsFromText } from './compute-notation.ts';
import { freezeDeep } from './freeze-deep.ts';
import { insertExchanges } from './insert-exchanges.ts';
import { peakActivations } from './live-activations.ts';
import type { Schedule } from './schedule.ts';
import { linearPlacement, type StagePlacement, stageAt } from './stage-placement.ts';

/** What the compute lists alone do not tell. */
export interface ScheduleFromComputeOptions {
  /** Who holds which stage; rank r holds stage r when left out. */
  readonly placement?: StagePlacement | undefined;
  /** The most activations each rank may hold, proven; what the lists need when left out. */
  readonly peakActivations?: readonly number[] | undefined;
}

/**
 * A schedule from one compute list per rank, written as steps or as text: `scheduleFromCompute('mine', ['F0 F1 B0 B1', 'F0 B0 F1
 * B1'])`. The number of microbatches is read from the lists; lists without any backward pass make a forward-only schedule.
 * @throws ConfigError INVALID_SCHEDULE for lists that cannot run; names the rank, the action and what waits for what.
 */
export function scheduleFromCompute(
  name: string,
  lists: readonly (string | readonly Step[])[],
  { placement = linearPlacement(lists.length), peakActivations: declared }: ScheduleFromComputeOptions = {},
): Schedule {
  const steps = lists.map((list) => (typeof list === 'string' ? stepsFromText(list) : list));
  const parts = steps.flat().flatMap((step): readonly ComputeStep[] => (step.kind === 'overlap' ? step.parts : [step]));
  if (parts.length === 0) {
    const sentence = `schedule "${name}": no rank computes anything. Give each rank a list of steps.`;
    throw new ConfigError('INVALID_SCHEDULE', sentence, { fields: { schedule: name } });
  }
  const forwardOnly = parts.every(({ kind }) => kind === 'forward');
  const ranks = steps.map((list, rank) => list.map((step, index) => placeStep(step, { name, placement, rank, index })));
  const computing: Schedule = {
    name,
    numRanks: lists.length,
    numStages: placement.routes[0]?.length ?? 0,
    numChunks: 1 + Math.max(...placement.routes.flat().map(({ chunk }) => chunk)),
    numMicrobatches: 1 + Math.max(...parts.map(({ microbatch }) => microbatch)),
    forwardOnly,
    placement,
    ranks,
    peakActivations: declared ?? ranks.map((actions) => peakActivations(actions, forwardOnly)),
  };
  // Told before exchanges are added, so that indices are those of the lists.
  assertProven(computing, computationProblems(computing));
  const schedule = freezeDeep(insertExchanges(computing));
  assertProven(schedule, checkSchedule(schedule).problems);
  return schedule;
}

interface StepPlace {
  readonly name: string;
  readonly placement: StagePlacement;
  readonly rank: number;
  readonly index: number;
}

function placeStep(step: Step, place: StepPlace): Action {
  if (step.kind !== 'overlap') return placeCompute(step, place);
  const [first, second] = step.parts;
  return { kind: 'overlap', parts: [placeCompute(first, place), placeCompute(second, place)] };
}

function placeCompute({ kind, microbatch, chunk = 0 }: ComputeStep, { name, placement, rank, index }: StepPlace): ComputeAction {
  const stage = stageAt(placement, { rank, chunk }, microbatch);
  if (stage >= 0) return { kind, stage, chunk, microbatch };
  const sentence =
    `schedule "${name}": rank ${rank} action ${index}: microbatch ${microbatch} does not pass chunk ${chunk} of rank ${rank}. `
    + 'Use a chunk on its route, or another placement.';
  throw new ConfigError('INVALID_SCHEDULE', sentence, { fields: { schedule: name, rank, action: index, microbatch, chunk } });
}
