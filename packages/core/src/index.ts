/**
 * Parallel layers, process groups and schedules for training transformers.
 * @module @megatron-ts/core
 */
export { ByteTokenizer, MicrobatchSampler, readTokens, splitTokens } from '@megatron-ts/data';
export type { Microbatch, MicrobatchSamplerOptions, TokenFile, TokenSplit } from '@megatron-ts/data';
export { DistributedDataParallel } from '@megatron-ts/data-parallel';
export type { DataParallelOptions } from '@megatron-ts/data-parallel';
export {
  CheckpointError,
  ConfigError,
  DTypeError,
  EngineError,
  InternalError,
  MegatronError,
  ProcessGroupError,
  ShapeError,
} from '@megatron-ts/errors';
export type {
  CheckpointErrorCode,
  ConfigErrorCode,
  DTypeErrorCode,
  EngineErrorCode,
  ErrorDetails,
  ErrorFields,
  InternalErrorCode,
  ProcessGroupErrorCode,
  ShapeErrorCode,
} from '@megatron-ts/errors';
export type {
  FlightRecord,
  OperationKind,
  OperationState,
  RecordedDType,
  RecordedFailure,
  RecordedGroup,
  RecordedMessage,
  RecordedOperation,
  RecordedReduceOp,
  RecordReason,
} from '@megatron-ts/flight-recorder';
export type { Launch, LaunchSource } from '@megatron-ts/launch';
export { assignLayers, createMesh, Mesh, microbatchPlan } from '@megatron-ts/mesh';
export type {
  LayerAssignment,
  MeshAxis,
  MeshConfig,
  MeshCoordinates,
  MeshGroupName,
  MeshSizes,
  MicrobatchConfig,
  MicrobatchPlan,
} from '@megatron-ts/mesh';
export { Adam, clipGradNorm, constant, globalGradNorm, warmupCosine } from '@megatron-ts/optimizer';
export type {
  AdamOptions,
  ClipOptions,
  GradientNormOptions,
  LearningRateSchedule,
  StepResult,
  WarmupCosineOptions,
} from '@megatron-ts/optimizer';
export { runSchedule } from '@megatron-ts/pipeline-parallel';
export type { RunScheduleOptions, ScheduleResult, ShapedStage } from '@megatron-ts/pipeline-parallel';
export {
  allGather,
  allReduce,
  allToAll,
  barrier,
  broadcast,
  exchange,
  finalizeGrads,
  gatherToRoot,
  gatherWhole,
  initializeModelParallel,
  ParallelContext,
  ProcessGroup,
  recv,
  reduce,
  reduceScatter,
  scatter,
  send,
  Work,
  World,
} from '@megatron-ts/process-groups';
export type {
  AllToAllOptions,
  Backend,
  BroadcastOptions,
  CollectiveOptions,
  ContextParts,
  Deadlines,
  ExchangeOptions,
  FinalizeOptions,
  GatherToRootOptions,
  GatherWholeOptions,
  GradientReducer,
  GroupCounts,
  GroupName,
  GroupOptions,
  GroupParts,
  Message,
  ModelParallelOptions,
  PeerOptions,
  RecorderPlace,
  ReduceOp,
  ReduceScatterOptions,
  ReductionOptions,
  RootedReductionOptions,
  ScatterOptions,
  UnevenOptions,
  WholeForm,
  WholeSink,
  WorkParts,
  WorldSettings,
} from '@megatron-ts/process-groups';
export { forwardOnly, gpipe, oneForwardOneBackward, scheduleFromCompute } from '@megatron-ts/schedule';
export type { Schedule } from '@megatron-ts/schedule';
export * from './tensor.ts';
export {
  ColumnParallelLinear,
  copyToTensorParallelRegion,
  gatherFromSequenceParallelRegion,
  gatherFromTensorParallelRegion,
  reduceFromTensorParallelRegion,
  reduceScatterToSequenceParallelRegion,
  RowParallelLinear,
  scatterToSequenceParallelRegion,
  scatterToTensorParallelRegion,
  vocabParallelCrossEntropy,
  vocabParallelLinearCrossEntropy,
  VocabParallelEmbedding,
} from '@megatron-ts/tensor-parallel';
export type {
  ColumnOutput,
  ColumnParallelLinearOptions,
  HiddenShard,
  LayerDTypes,
  Mapping,
  ParamDType,
  Region,
  Residual,
  RowInput,
  RowParallelLinearOptions,
  SequenceShard,
  VocabParallelCrossEntropyOptions,
  VocabParallelLinearCrossEntropyOptions,
  VocabParallelEmbeddingOptions,
  VocabParallelWeightOptions,
  VocabShard,
} from '@megatron-ts/tensor-parallel';
export {
  countParameters,
  formatBytes,
  formatCount,
  formatDuration,
  generate,
  memorySummary,
  MetricsFile,
  Progress,
  summary,
} from '@megatron-ts/training';
export type { GenerateOptions, ParameterCount, ProgressOptions, RunHeader, StepMetrics } from '@megatron-ts/training';
export {
  describedPlace,
  GPTEmbedding,
  GPTModel,
  gptPresets,
  HeadNorm,
  LanguageModelHead,
  LayerNorm,
  LlamaModel,
  llamaPresets,
  ParallelAttention,
  ParallelMLP,
  parameterCount,
  PositionEmbedding,
  RMSNorm,
  RotaryAngles,
  rotaryFrequencies,
  TransformerLayer,
} from '@megatron-ts/transformer';
export type {
  Activation,
  AttentionInputs,
  DescribedPlaceOptions,
  GPTConfig,
  GPTEmbeddingOptions,
  GPTModelOptions,
  HeadNormOptions,
  LanguageModelHeadOptions,
  LayerNormModuleOptions,
  LinearRotaryScaling,
  Llama3RotaryScaling,
  LlamaConfig,
  LlamaModelOptions,
  LocalHeads,
  ModelContext,
  Normalization,
  NormPlacement,
  ParallelAttentionOptions,
  ParallelMLPOptions,
  PositionEmbeddingOptions,
  RotaryOptions,
  RotaryScaling,
  TransformerLayerOptions,
  YarnRotaryScaling,
} from '@megatron-ts/transformer';
