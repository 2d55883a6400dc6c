/**
 * Tensors, the tape and modules.
 * @module @megatron-ts/tensor
 */
export { ambient } from './ambient.ts';
export type { Ambient, Frame } from './ambient.ts';
export { Tensor } from './tensor.ts';
export type { AnyTensor, NotPartial, TensorForm } from './tensor.ts';
export { backward, weightGradientsFollow } from './backward.ts';
export { isChecking, withChecking } from './check-mode.ts';
export type { ComputeDType, ComputeOptions } from './compute-dtype.ts';
export { defineOp } from './define-op.ts';
export type { ArgumentGradients, OpDefinition, OpForward, OpOutput, OutputGradients } from './define-op.ts';
export { requireDropoutRates, withMicrobatch } from './draw.ts';
export type { DrawOptions } from './draw.ts';
export { bytesPerElement, dtypeCode, dtypes, isFloating } from './dtype.ts';
export type { DType, TensorData } from './dtype.ts';
export { engine } from './engine.ts';
export { philoxKey } from './initialize-values.ts';
export { logicalViews } from './logical-views.ts';
export { emptyCache, memoryStats, resetPeakMemory } from './memory.ts';
export type { MemoryStats, MemoryUsage } from './memory.ts';
export { categorize, inCategory, memoryCategories } from './memory-category.ts';
export type { MemoryCategory } from './memory-category.ts';
export { Module } from './module.ts';
export type { ModuleHooks } from './module.ts';
export { Node, record, recordAll } from './node.ts';
export type { BackwardFunction, InputGradients, Recording } from './node.ts';
export * from './ops/index.ts';
export { globalNumel, wholeTensor } from './param-meta.ts';
export type { ConstantRule, InitRule, LogicalTensor, NormalRule, ParamMeta, Rectangle, UniformRule } from './param-meta.ts';
export { Parameter } from './parameter.ts';
export type { AxisPlace, GradSynchronizer, GradTarget, InitializationContext, ParameterOptions } from './parameter.ts';
export { productPlacement } from './placement.ts';
export type { PartialSum, Placement, Replicated, Sharded, Whole } from './placement.ts';
export { recompute } from './recompute.ts';
export { remakeable } from './remade-tensor.ts';
export type { Remaking } from './remade-tensor.ts';
export { tensor } from './read.ts';
export type { TensorOptions, TypedArrayOf } from './read.ts';
export { evaluate, keep, noGrad, scope, Scope } from './scope.ts';
export type { Synchronous } from './scope.ts';
export { broadcastShape, formatShape, numel, sameShape, stridesOf } from './shape.ts';
export type { Shape } from './shape.ts';
export { inSpan, recordSpans } from './spans.ts';
export type { Span, SpanKind, SpanRecorder } from './spans.ts';
export { flushReleases } from './storage-release.ts';
export { Tape } from './tape.ts';
export { callerLine, where as whereInModel } from './where-in-model.ts';
