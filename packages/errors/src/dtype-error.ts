import { MegatronError } from './megatron-error.ts';

/** Codes of `DTypeError`. */
export type DTypeErrorCode = 'DTYPE_MISMATCH' | 'UNSUPPORTED_DTYPE';

/** An operation that does not take this dtype. */
export class DTypeError extends MegatronError<DTypeErrorCode> {}
