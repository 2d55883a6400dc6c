import { MegatronError } from './megatron-error.ts';

/** Codes of `ShapeError`. */
export type ShapeErrorCode =
  | 'DATA_LENGTH'
  | 'DIM_OUT_OF_RANGE'
  | 'INDEX_OUT_OF_RANGE'
  | 'INVALID_EXTENT'
  | 'NOT_A_SCALAR'
  | 'NOT_BROADCASTABLE'
  | 'SHAPE_MISMATCH'
  | 'TOO_LARGE'
  | 'WRONG_RANK';

/** Shapes, dims or element counts that do not fit. */
export class ShapeError extends MegatronError<ShapeErrorCode> {}
