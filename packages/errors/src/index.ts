export { CheckpointError, type CheckpointErrorCode } from './checkpoint-error.ts';
export { ConfigError, type ConfigErrorCode } from './config-error.ts';
export { DTypeError, type DTypeErrorCode } from './dtype-error.ts';
export { EngineError, type EngineErrorCode } from './engine-error.ts';
export { InternalError, type InternalErrorCode } from './internal-error.ts';
export { ProcessGroupError, type ProcessGroupErrorCode } from './process-group-error.ts';
export { ShapeError, type ShapeErrorCode } from './shape-error.ts';
export { type ErrorDetails, type ErrorFields, MegatronError } from './megatron-error.ts';
