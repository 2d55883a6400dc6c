import { MegatronError } from './megatron-error.ts';

/** Codes of `ProcessGroupError`. */
export type ProcessGroupErrorCode =
  | 'ABORTED'
  | 'JOIN_FAILED'
  | 'MISMATCH'
  | 'NOT_A_MEMBER'
  | 'PEER_LOST'
  | 'RANK_FAILED'
  | 'STOPPED'
  | 'TIMEOUT';

/** A collective or a world that failed: a peer died, ranks disagree, or a deadline passed. */
export class ProcessGroupError extends MegatronError<ProcessGroupErrorCode> {}
