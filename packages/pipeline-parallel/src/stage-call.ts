import { ConfigError } from '@megatron-ts/errors';
import { isGradientReducer } from '@megatron-ts/process-groups';
import { type AnyTensor, type DType, type Module, type Shape, Tensor } from '@megatron-ts/tensor';

/** A model chunk that knows the form of what the stage before sends it. */
export interface ShapedStage {
  /** Shape of the activation `[s, b, h]` that arrives when the first stage gets an input of `inputShape`. */
  activationShape(inputShape: Shape): Shape;
  /** Element type of that activation; f32 when left out. */
  readonly activationDType?: DType;
}

/** `chunk.call(input)`. @throws ConfigError INVALID_OPTION when it does not return one tensor */
export function callStage(chunk: Module, input: AnyTensor): AnyTensor {
  const output = (chunk as unknown as { call(input: AnyTensor): unknown }).call(input);
  if (output instanceof Tensor) return output as AnyTensor;
  throw new ConfigError(
    'INVALID_OPTION',
    `runSchedule: ${chunk.path} returned ${typeof output}. A stage takes one tensor and returns one.`,
  );
}

/** What the first stage gets: the microbatch itself when it is a tensor, else its field `input`. @throws ConfigError MISSING_OPTION */
export function inputOfMicrobatch(microbatch: unknown): AnyTensor {
  const input = microbatch instanceof Tensor ? microbatch : (microbatch as { readonly input?: unknown } | undefined)?.input;
  if (input instanceof Tensor) return input as AnyTensor;
  throw new ConfigError(
    'MISSING_OPTION',
    'runSchedule: a microbatch is neither a tensor nor an object with a tensor in "input". Give inputOf.',
  );
}

/**
 * Shape of what a chunk receives, as the chunk or what it wraps says, when the first stage gets an input of `inputShape`.
 * @throws ConfigError MISSING_OPTION
 */
export function activationShapeOf(chunk: Module, inputShape: Shape): Shape {
  const stage = stageOf(chunk);
  if (typeof stage.activationShape === 'function') return stage.activationShape(inputShape);
  throw new ConfigError(
    'MISSING_OPTION',
    `runSchedule: ${chunk.path} does not say the shape of what it receives. Give activationShape, or the module a method of that name.`,
  );
}

/** Element type of what a chunk receives, as the chunk or what it wraps says. */
export function activationDTypeOf(chunk: Module): DType {
  return stageOf(chunk).activationDType ?? 'f32';
}

function stageOf(chunk: Module): Partial<ShapedStage> {
  return (isGradientReducer(chunk) ? chunk.module : chunk) as unknown as Partial<ShapedStage>;
}
