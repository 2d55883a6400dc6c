/**
 * What ranks recorded of their collectives: the format, the merge of a world's records, the outlier among them, and the proof that a
 * world cannot hang. Pure.
 * @module @megatron-ts/flight-recorder
 */
export type { DiagnosisRow } from './diagnosis-rows.ts';
export { type Diagnosis, findOutlier } from './find-outlier.ts';
export type { FindingKind } from './finding.ts';
export {
  type FlightRecord,
  isPending,
  isPointToPoint,
  type OperationKind,
  type OperationState,
  type RecordedDType,
  type RecordedFailure,
  type RecordedGroup,
  type RecordedMessage,
  type RecordedOperation,
  type RecordedReduceOp,
  type RecordReason,
  recordFormat,
  recordVersion,
} from './flight-record.ts';
export { type MemberOperations, type MergedGroup, type MergedRecords, mergeRecords } from './merge-records.ts';
export { describeOperation, type DescribedOperation, type OperationSignature, ranksText } from './operation-text.ts';
export { parseFlightRecord } from './parse-flight-record.ts';
export { RecordVerifier, type Verification, verifyRecords } from './verify-records.ts';
