/**
 * Pipeline schedules as data: generators, a checker that proves them, a clock that times them, a picture. Pure.
 * @module @megatron-ts/schedule
 */
export {
  type Action,
  backward,
  backwardInput,
  backwardWeight,
  type ComputeAction,
  type ComputeKind,
  computeParts,
  type ComputeStep,
  describeAction,
  describeTransfer,
  type ExchangeAction,
  forward,
  overlap,
  type OverlapAction,
  type OverlapStep,
  type Payload,
  type Step,
  type Transfer,
} from './action.ts';
export { assertSchedule } from './assert-schedule.ts';
export { checkSchedule, type ScheduleReport } from './check-schedule.ts';
export { stepsFromText } from './compute-notation.ts';
export type { ScheduleCosts, StageCost } from './costs.ts';
export { drawSchedule } from './draw-schedule.ts';
export { forwardOnly } from './forward-only.ts';
export { gpipe } from './gpipe.ts';
export { oneForwardOneBackward } from './one-forward-one-backward.ts';
export type { PipelineOptions } from './pipeline-options.ts';
export type { Schedule } from './schedule.ts';
export { scheduleFromCompute, type ScheduleFromComputeOptions } from './schedule-from-compute.ts';
export type { ScheduleProblem, ScheduleRule } from './schedule-problem.ts';
export { type RankTimes, simulate, type SimulatedSchedule, type SimulationOptions, type TimedAction } from './simulate.ts';
export {
  bidirectionalPlacement,
  interleavedPlacement,
  linearPlacement,
  routeOf,
  type Seat,
  stageAt,
  type StagePlacement,
  stagesOfRank,
  turningPlacement,
} from './stage-placement.ts';
