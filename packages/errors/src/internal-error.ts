import { MegatronError } from './megatron-error.ts';

/** Codes of `InternalError`. */
export type InternalErrorCode = 'BROKEN_INVARIANT' | 'INVARIANT' | 'SHAPE';

/** A mistake of the library itself; please report it. */
export class InternalError extends MegatronError<InternalErrorCode> {}
