import { ShapeError } from '@megatron-ts/errors';
import { ambient } from '../ambient.ts';
import { checksPlacements } from '../check-mode.ts';
import { computeCode, type ComputeOptions } from '../compute-dtype.ts';
import { record } from '../node.ts';
import { checkContribution, contracted, logitsGradient, place, placed } from '../placements/index.ts';
import { formatShape, sameShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { knownUniform } from '../uniform-value.ts';
import { where } from '../where-in-model.ts';
import { to } from './cast.ts';
import type { ShardReduction } from './cross-entropy.ts';
import { type CrossEntropyOptions, requireLossOptions } from './cross-entropy-options.ts';
import { HeadChunks, type HeadGradients } from './head-chunks.ts';
import { axpy, copyInto, empty, filled, scaleInPlace } from './in-place.ts';
import { requireDType, requireStreams } from './operands.ts';
import { alias } from './view.ts';

/** Options of `shardedLinearCrossEntropy`. */
export interface ShardedLinearCrossEntropyOptions extends ComputeOptions, CrossEntropyOptions {
  /** The rows of the weight in the vocabulary, and the exchanges with its other shards. */
  readonly shards: ShardReduction;
}

/**
 * `crossEntropy(linear(x, weight), targets)` of each row without ever holding the logits of all rows: `x` `[…, h]`, weight `[v, h]`,
 * targets (i32) `[…]`, result `[…]`. A recorded forward also computes the gradients of the sum of the losses, for which nothing has to be
 * computed twice; backward scales them when all losses have one gradient, and computes them anew, for a product more, when not. The
 * weight's gradient is made in the parameter's gradient memory while that is free, else beside it and added. Losses and the gradient
 * of `x` have the bits of the two operations; that of the weight is a sum over chunks, and close. With bf16 operands logits, losses and the
 * gradient of the weight are f32 all the same.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, ConfigError INVALID_OPTION
 * @source Hsu et al. 2024, Liger Kernel, section 3.2; Shoeybi et al. 2019, section 3
 */
export function shardedLinearCrossEntropy(
  x: AnyTensor,
  weight: AnyTensor,
  targets: AnyTensor,
  { shards, ...options }: ShardedLinearCrossEntropyOptions,
): Tensor {
  check(x, weight, targets);
  requireLossOptions('linearCrossEntropy', options);
  const compute = computeCode('linearCrossEntropy', x.dtype, options);
  const chunks = new HeadChunks({ x, weight, targets, shards, compute, options });
  const borrower = {};
  const needsGradients = ambient.recording && (x.requiresGrad || weight.requiresGrad);
  const early = needsGradients ? memoryOf(x, weight, borrower) : undefined;
  const losses = alias(chunks.forward(early), targets.shape);
  const { max, sums } = chunks.statistics;
  const held = early === undefined ? [] : [early.input, ...(early.weight === undefined ? [] : [early.weight])];
  return record(losses as Tensor, {
    op: 'linearCrossEntropy',
    inputs: [x, weight],
    saved: [x, weight, targets, max, sums, ...held],
    backward: (grad) => {
      const scale = commonValue(grad);
      const isKept = weight.asParameter?.requiresGrad !== true || weight.asParameter.hasLent(borrower);
      const gradients = scale !== undefined && isKept ? early : undefined;
      const made = gradients ?? again(chunks, scale === undefined ? alias(grad, [grad.numel]) : filled([grad.numel], { value: 1 }));
      if (scale !== undefined && scale !== 1) scaleInPlace(made.input, scale);
      if (checksPlacements()) placeHeadGradients(chunks, grad, made);
      return [made.input, made.weight === undefined ? null : contribute(weight, made.weight, scale ?? 1)];
    },
  });
}

function check(x: AnyTensor, weight: AnyTensor, targets: AnyTensor): void {
  requireStreams('linearCrossEntropy', { x }, { weight });
  requireDType('linearCrossEntropy', { targets }, 'i32');
  if (weight.shape.length === 2 && x.shape.at(-1) === weight.shape[1] && sameShape(x.shape.slice(0, -1), targets.shape)) return;
  const shapes = `x ${formatShape(x.shape)}, weight ${formatShape(weight.shape)} and targets ${formatShape(targets.shape)}`;
  throw new ShapeError(
    'SHAPE_MISMATCH',
    `${where('linearCrossEntropy')}: ${shapes} are not […, h], [v, h] and […]. Make the last extents equal, and give a target for each row.`,
  );
}

/** Memory for both gradients; none while the weight's is lent to another. */
function memoryOf(x: AnyTensor, weight: AnyTensor, borrower: object): HeadGradients | undefined {
  if (!weight.requiresGrad) return { input: empty(x.shape, x.dtype), weight: undefined };
  const own = weight.asParameter === undefined ? empty(weight.shape) : weight.asParameter.lendGradMemory(borrower);
  return own === undefined ? undefined : { input: empty(x.shape, x.dtype), weight: own };
}

/** Both gradients of the losses times `factors`, from a second pass. */
function again(chunks: HeadChunks, factors: AnyTensor): HeadGradients {
  const { x, weight } = chunks.head;
  const gradients = memoryOf(x, weight, chunks) ?? { input: empty(x.shape, x.dtype), weight: empty(weight.shape) };
  chunks.recompute(factors, gradients);
  return gradients;
}

/** Notes where both gradients live, which follows from that of the logits. */
function placeHeadGradients(chunks: HeadChunks, grad: AnyTensor, made: HeadGradients): void {
  const { x, weight } = chunks.head;
  const rows = x.shape.slice(0, -1).map((_, dim) => `row ${dim}`);
  const logits = { operand: logitsGradient(chunks.logitsPlaced, placed(grad)), labels: [...rows, 'v'] };
  const ofWeight = { operand: placed(weight), labels: ['v', 'h'] };
  const ofInput = { operand: placed(x), labels: [...rows, 'h'] };
  place(made.input, contracted('linearCrossEntropy', [logits, ofWeight], { shape: x.shape, labels: ofInput.labels }).layout);
  const weightGrad = contracted('linearCrossEntropy', [logits, ofInput], { shape: weight.shape, labels: ofWeight.labels });
  if (weight.asParameter?.requiresGrad === true) checkContribution(weight.asParameter, weightGrad.layout);
  else if (made.weight !== undefined) place(made.weight, weightGrad.layout);
}

/** The one value of all elements; undefined when they differ. Only where it is not known are they looked at. */
function commonValue(grad: AnyTensor): number | undefined {
  const known = knownUniform(grad);
  if (known !== undefined) return known;
  const values = grad.toArray<'f32'>();
  const [first = 1] = values;
  return values.every((value) => value === first) ? first : undefined;
}

/** Hands over the weight's gradient times `scale`: to the parameter, in whose memory it may lie already, or as a tensor. */
function contribute(weight: AnyTensor, made: AnyTensor, scale: number): AnyTensor | null {
  const target = weight.asParameter?.gradTarget();
  if (target?.accumulate === true) {
    axpy(target.tensor, scale, made);
    return null;
  }
  if (scale !== 1) scaleInPlace(made, scale);
  if (target === undefined) return to(made, weight.dtype);
  if (target.tensor.handle !== made.handle) copyInto(target.tensor, made);
  return null;
}
