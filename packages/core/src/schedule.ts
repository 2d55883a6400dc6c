/**
 * Pipeline schedules as plain data: generators, checker, clock and picture.
 * @module @megatron-ts/core/schedule
 */
export * from '@megatron-ts/schedule';
