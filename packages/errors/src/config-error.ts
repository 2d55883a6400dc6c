import { MegatronError } from './megatron-error.ts';

/** Codes of `ConfigError`. */
export type ConfigErrorCode =
  | 'ASYNC_CALLBACK'
  | 'CAPTURED_READ'
  | 'CONTRADICTION'
  | 'DUPLICATE_NAME'
  | 'EMPTY_WORLD'
  | 'FINISHED_GRADIENT'
  | 'INDIVISIBLE'
  | 'INVALID_CONTEXT'
  | 'INVALID_OPTION'
  | 'INVALID_RECORD'
  | 'INVALID_SCHEDULE'
  | 'INVALID_VARIABLE'
  | 'MISSING_OPTION'
  | 'MISSING_VARIABLE'
  | 'NOT_BUILT'
  | 'NOT_INITIALIZED'
  | 'NOT_IN_REPOSITORY'
  | 'NO_GRADIENT'
  | 'NO_SUCH_FILE'
  | 'OUTSIDE_STEP'
  | 'OUT_OF_RANGE'
  | 'SHARED_CHILD'
  | 'TWO_COPIES'
  | 'UNKNOWN_COMMAND'
  | 'UNKNOWN_OPTION'
  | 'UNREACHABLE_MODULE'
  | 'UNREADABLE_DATA'
  | 'UNREDUCED_PARAMETER'
  | 'UNWAITED_WORK'
  | 'WRONG_PLACEMENT';

/** Options, sizes or an order of calls that cannot work. */
export class ConfigError extends MegatronError<ConfigErrorCode> {}
