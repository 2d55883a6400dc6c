/**
 * The parallel context, its groups and their collectives.
 * @module @megatron-ts/process-groups
 */
export { allGather, allReduce, allToAll, barrier, broadcast, exchange, reduceScatter } from './collectives.ts';
export type {
  AllToAllOptions,
  BroadcastOptions,
  CollectiveOptions,
  ExchangeOptions,
  Message,
  ReduceOp,
  ReductionOptions,
} from './collectives.ts';
export { finalizeGrads } from './finalize-grads.ts';
export type { FinalizeOptions } from './finalize-grads.ts';
export { isGradientReducer } from './gradient-reducer.ts';
export type { GradientReducer } from './gradient-reducer.ts';
export { initializeModelParallel } from './initialize-model-parallel.ts';
export type { ModelParallelOptions } from './initialize-model-parallel.ts';
export { ParallelContext } from './parallel-context.ts';
export type { ContextParts, GroupName } from './parallel-context.ts';
export { ProcessGroup } from './process-group.ts';
export type { GroupCounts } from './process-group.ts';
export { Work } from './work.ts';
export { World } from './world.ts';
export type { Deadlines } from './world.ts';
