/**
 * What ranks recorded of their collectives: the format, the merge of a world's records, the outlier among them, and the proof that a
 * world cannot hang.
 * @module @megatron-ts/core/flight-recorder
 */
export * from '@megatron-ts/flight-recorder';
