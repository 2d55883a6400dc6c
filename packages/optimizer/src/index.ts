/**
 * Adam, gradient clipping and learning-rate schedules.
 * @module @megatron-ts/optimizer
 */
export { Adam } from './adam.ts';
export type { AdamOptions, StepResult } from './adam.ts';
export { contextOf } from './context-of.ts';
export { clipGradNorm, globalGradNorm } from './gradient-norm.ts';
export type { ClipOptions, GradientNormOptions } from './gradient-norm.ts';
export { constant, warmupCosine } from './learning-rate.ts';
export type { LearningRateSchedule, WarmupCosineOptions } from './learning-rate.ts';
