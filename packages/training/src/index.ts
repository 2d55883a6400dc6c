/**
 * What surrounds a training loop: progress, metrics and a model's summary.
 * @module @megatron-ts/training
 */
export { CapturedStep, captureStep } from './captured-step.ts';
export type { CaptureOptions, StepOutput } from './captured-step.ts';
export { formatBytes, formatCount, formatDuration } from './format-quantity.ts';
export { memorySummary } from './memory-summary.ts';
export { MetricsFile } from './metrics-file.ts';
export type { RunHeader } from './metrics-file.ts';
export { Progress } from './progress.ts';
export type { ProgressOptions, StepMetrics } from './progress.ts';
export { countParameters, summary } from './summary.ts';
export type { ParameterCount } from './summary.ts';
export { generate } from './generate.ts';
export type { GenerateOptions } from './generate.ts';
