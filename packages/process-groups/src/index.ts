/**
 * The parallel context, its groups and their collectives.
 * @module @megatron-ts/process-groups
 */
export { allGather } from './all-gather.ts';
export { allReduce } from './all-reduce.ts';
export { allToAll } from './all-to-all.ts';
export type { AllToAllOptions } from './all-to-all.ts';
export type { Backend } from './backend.ts';
export type { Device } from './device-for.ts';
export { barrier } from './barrier.ts';
export { broadcast } from './broadcast.ts';
export type { BroadcastOptions } from './broadcast.ts';
export type { CollectiveOptions, ReduceOp, ReductionOptions } from './collective-options.ts';
export type { Deadlines } from './deadlines.ts';
export { exchange } from './exchange.ts';
export type { ExchangeOptions, Message } from './exchange.ts';
export { finalizeGrads } from './finalize-grads.ts';
export type { FinalizeOptions } from './finalize-grads.ts';
export { gatherToRoot } from './gather-to-root.ts';
export type { GatherToRootOptions } from './gather-to-root.ts';
export { gatherWhole } from './gather-whole.ts';
export type { GatherWholeOptions, WholeSink } from './gather-whole.ts';
export { isGradientReducer } from './gradient-reducer.ts';
export type { GradientReducer } from './gradient-reducer.ts';
export { initializeModelParallel } from './initialize-model-parallel.ts';
export type { ModelParallelOptions } from './initialize-model-parallel.ts';
export { onHost } from './on-host.ts';
export { ParallelContext } from './parallel-context.ts';
export type { ContextParts, GroupName, GroupOptions } from './parallel-context.ts';
export { ProcessGroup } from './process-group.ts';
export type { GroupCounts, GroupParts } from './process-group.ts';
export type { RecorderPlace } from './recorder-place.ts';
export { reduceScatter } from './reduce-scatter.ts';
export type { ReduceScatterOptions } from './reduce-scatter.ts';
export { reduce } from './reduce.ts';
export type { RootedReductionOptions } from './reduce.ts';
export type { UnevenOptions } from './rows-of-ranks.ts';
export { scatter } from './scatter.ts';
export type { ScatterOptions } from './scatter.ts';
export { recv, send } from './send-receive.ts';
export type { PeerOptions } from './send-receive.ts';
export type { WholeForm } from './whole-plan.ts';
export { chromeTrace, traced } from './trace.ts';
export type { ChromeTrace, Traced, TraceEvent } from './trace.ts';
export { Work } from './work.ts';
export type { WorkParts } from './work.ts';
export { World } from './world.ts';
export type { WorldSettings } from './world.ts';
