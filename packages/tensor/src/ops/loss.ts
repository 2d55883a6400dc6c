import { DTypeError, ShapeError } from '@megatron-ts/errors';
import { formatShape, sameShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { square } from './unary.ts';
import { mean } from './reduce.ts';
import { sub } from './binary.ts';

/** A loss as schedules want it: the sum over tokens and how many there are; they are divided once, at the end. */
export interface Loss {
  /** Sum of the tokens' losses: one number. */
  readonly sum: Tensor;
  /** Number of tokens in the sum. */
  readonly count: number;
}

/**
 * How many targets (i32) count: all but those that are `ignoreIndex`. Sums of losses are divided by this number over all microbatches and
 * ranks, not by one mean after the other: a microbatch may have no token that counts.
 */
export function countTargets(targets: AnyTensor, ignoreIndex?: number): number {
  if (ignoreIndex === undefined) return targets.numel;
  return targets.toArray<'i32'>().reduce((count, target) => (target === ignoreIndex ? count : count + 1), 0);
}

/** Mean of the squared differences. @throws ShapeError SHAPE_MISMATCH */
export function mseLoss(prediction: Tensor, target: Tensor): Tensor {
  requireSameShape('mseLoss', prediction, target);
  return mean(square(sub(prediction, target)));
}

function requireSameShape(op: string, a: AnyTensor, b: AnyTensor): void {
  if (!sameShape(a.shape, b.shape))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where(op)}: prediction ${formatShape(a.shape)} and target ${formatShape(b.shape)} differ. Give both the same shape.`,
    );
  if (a.dtype !== b.dtype)
    throw new DTypeError(
      'DTYPE_MISMATCH',
      `${where(op)}: prediction is ${a.dtype} and target is ${b.dtype}. Convert one of them with to().`,
    );
}
