/**
 * The executor of pipeline schedules.
 * @module @megatron-ts/pipeline-parallel
 */
export { runSchedule } from './run-schedule.ts';
export type { RunScheduleOptions, ScheduleResult } from './run-schedule.ts';
export type { ShapedStage } from './stage-call.ts';
