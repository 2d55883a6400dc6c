/**
 * Gradient buckets and distributed data parallel.
 * @module @megatron-ts/data-parallel
 */
export { DistributedDataParallel } from './distributed-data-parallel.ts';
export type { DataParallelOptions } from './distributed-data-parallel.ts';
export { planBuckets } from './plan-buckets.ts';
export type { BucketPlan, BucketSlot } from './plan-buckets.ts';
