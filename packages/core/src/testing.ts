/**
 * Help for tests of parallel code: ranks as processes, and comparisons that state their tolerance.
 * @module @megatron-ts/core/testing
 */
export * from '@megatron-ts/testing';
