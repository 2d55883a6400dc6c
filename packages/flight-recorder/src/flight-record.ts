/** The recorder's file: what one rank posted, in the order of its program. The interfaces are the JSON, field by field. */

/** First field of every record. */
export const recordFormat = 'megatron-ts flight recorder';

/** The only version there is. */
export const recordVersion = 1;

/** Operations as users call them; the last three move messages between pairs of ranks. */
export const operationKinds = [
  'allReduce',
  'allGather',
  'reduceScatter',
  'broadcast',
  'allToAll',
  'barrier',
  'reduce',
  'gather',
  'scatter',
  'exchange',
  'send',
  'recv',
] as const;

/** An operation as users call it. */
export type OperationKind = (typeof operationKinds)[number];

/** Dtypes of what moves. */
export const recordedDTypes = ['f32', 'bf16', 'f16', 'f64', 'i32', 'i64', 'u8'] as const;

/** Dtype of what moves. */
export type RecordedDType = (typeof recordedDTypes)[number];

/** How elements are combined. */
export const reduceOps = ['sum', 'avg', 'max', 'min', 'product'] as const;

/** How elements are combined. */
export type RecordedReduceOp = (typeof reduceOps)[number];

/** States of an operation, in the order in which it takes them. */
export const operationStates = ['queued', 'started', 'completed', 'failed'] as const;

/** How far an operation has come; `failed` when the world ended before it did. */
export type OperationState = (typeof operationStates)[number];

/** Why a record was written: the world failed, an operation was slow, or somebody asked. */
export const recordReasons = ['failure', 'slow', 'request'] as const;

/** Why a record was written. */
export type RecordReason = (typeof recordReasons)[number];

/** The failure that ended the world, as this rank was told of it. */
export interface RecordedFailure {
  /** As in `ProcessGroupError`: `PEER_LOST`, `MISMATCH`, `TIMEOUT`, `ABORTED`. */
  readonly code: string;
  /** World ranks that it blames. */
  readonly culprits: readonly number[];
  /** The sentence every rank printed. */
  readonly message: string;
}

/** A group of the rank. Ranks of one world mean the same group when name, ranks and instance are equal. */
export interface RecordedGroup {
  /** Number by which this record's operations name the group; other records may use another. */
  readonly id: number;
  /** Name given by the user, such as `tp`. */
  readonly name: string;
  /** World ranks; the position is the group rank. */
  readonly ranks: readonly number[];
  /** Tells groups of equal name and ranks apart: 0 for the first. */
  readonly instance: number;
}

/** One message of a point-to-point operation. */
export interface RecordedMessage {
  /** Group rank of the other end. */
  readonly peer: number;
  /** Type of its elements. */
  readonly dtype: RecordedDType;
  /** Elements. */
  readonly count: number;
}

/** One operation, as its rank posted it. */
export interface RecordedOperation {
  /** `RecordedGroup.id` of its group. */
  readonly group: number;
  /** From 1: position among the group's collectives or, for `exchange`, `send` and `recv`, among the rank's own of these. */
  readonly sequence: number;
  /** What was called. */
  readonly kind: OperationKind;
  /** None for a barrier. */
  readonly dtype: RecordedDType | null;
  /** Elements that each rank brings; 0 where ranks may differ in it. */
  readonly count: number;
  /** How elements are combined, where they are. */
  readonly op: RecordedReduceOp | null;
  /** Group rank of the root, where there is one. */
  readonly root: number | null;
  /** Empty for collectives. */
  readonly sends: readonly RecordedMessage[];
  /** Empty for collectives. */
  readonly receives: readonly RecordedMessage[];
  /** The user's words for it, such as a module path; may be empty. */
  readonly label: string;
  /** How far it had come. */
  readonly state: OperationState;
  /** Place in the rank's program at which it was posted. */
  readonly posted: number;
  /** Place at which the rank first waited for it. */
  readonly waited: number | null;
  /** When it was posted, in milliseconds since 1970. */
  readonly postedMs: number;
  /** When the rank began to move its data, in milliseconds since 1970. */
  readonly startedMs: number | null;
  /** When it completed or failed, in milliseconds since 1970. */
  readonly endedMs: number | null;
}

/** All that one rank recorded. */
export interface FlightRecord {
  /** Tells a flight record from other JSON. */
  readonly format: typeof recordFormat;
  /** Of the format. */
  readonly version: typeof recordVersion;
  /** Name of the run. */
  readonly job: string;
  /** World rank. */
  readonly rank: number;
  /** Ranks of the world. */
  readonly worldSize: number;
  /** Name of the rank's host. */
  readonly host: string;
  /** Its process. */
  readonly pid: number;
  /** Backend that moved the data, such as `shm`. */
  readonly backend: string;
  /** When the record was written, in milliseconds since 1970. */
  readonly writtenMs: number;
  /** Why it was written. */
  readonly reason: RecordReason;
  /** Why the world failed; null when it had not. */
  readonly failure: RecordedFailure | null;
  /** Operations, the oldest ones, that the recorder no longer held. */
  readonly dropped: number;
  /** The groups this rank opened. */
  readonly groups: readonly RecordedGroup[];
  /** In the order in which they were posted. */
  readonly operations: readonly RecordedOperation[];
}

/** Whether operations of this kind concern pairs of ranks, and order holds per pair and direction. */
export function isPointToPoint(kind: OperationKind): boolean {
  return kind === 'exchange' || kind === 'send' || kind === 'recv';
}

/** Whether an operation has not completed: it waits, moves, or was given up. */
export function isPending(operation: RecordedOperation): boolean {
  return operation.state !== 'completed';
}
