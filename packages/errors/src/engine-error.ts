import { MegatronError } from './megatron-error.ts';

/** Codes of `EngineError`. */
export type EngineErrorCode = 'DISPOSED' | 'ENGINE_MISSING' | 'ENGINE_PANIC' | 'ENGINE_REFUSED' | 'NAN' | 'OUT_OF_MEMORY' | 'STALE_HANDLE';

/** The native engine is missing, refused an operation or ran out of memory. */
export class EngineError extends MegatronError<EngineErrorCode> {}
