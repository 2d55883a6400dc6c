import { MegatronError } from './megatron-error.ts';

/** Codes of `CheckpointError`. */
export type CheckpointErrorCode = 'INCOMPLETE' | 'LAYOUT_MISMATCH' | 'UNREADABLE' | 'UNWRITABLE';

/** A checkpoint that cannot be written or read. */
export class CheckpointError extends MegatronError<CheckpointErrorCode> {}
