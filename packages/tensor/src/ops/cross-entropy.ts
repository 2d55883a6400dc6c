import { ShapeError } from '@megatron-ts/errors';
import { ambient } from '../ambient.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { extentOf, formatShape, numel, sameShape } from '../shape.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { to } from './cast.ts';
import { lossOfStatistics } from './loss-of-statistics.ts';
import { requireDType } from './operands.ts';

const outs = new Uint32Array(2);

/** The exchanges with other vocabulary shards; a whole vocabulary needs none. */
export interface ShardReduction {
  /** Number of the first column held here. */
  readonly firstColumn: number;
  /** Makes each row's maximum that over all shards, in place. */
  maximum(rows: AnyTensor): void;
  /** Makes each row's statistics sums over all shards, in place. */
  sum(statistics: AnyTensor): void;
}

const whole: ShardReduction = { firstColumn: 0, maximum: () => undefined, sum: () => undefined };

/**
 * `log(sum(exp(logits))) - logits[target]` of each row, for logits whose columns may be spread over ranks.
 * `logits` `[…, v]`, `targets` (i32) `[…]`, result `[…]` in f32. The exponentials are kept, in f32, and become the gradient in place; what
 * records nothing makes none. The gradient of bf16 logits is rounded once.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE
 * @source Shoeybi et al. 2019, section 3
 */
export function shardedCrossEntropy(logits: AnyTensor, targets: AnyTensor, shards: ShardReduction): Tensor {
  requireDType('crossEntropy', { logits }, 'f32', 'bf16');
  requireDType('crossEntropy', { targets }, 'i32');
  if (logits.shape.length === 0 || !sameShape(logits.shape.slice(0, -1), targets.shape))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('crossEntropy')}: targets ${formatShape(targets.shape)} and logits ${formatShape(logits.shape)} do not fit. The targets need the shape of the logits without the last dim.`,
    );
  const [rows, cols] = [numel(targets.shape), extentOf(logits.shape, logits.shape.length - 1)];
  const { firstColumn } = shards;
  const max = new Tensor(engine.ceRowMax(logits.handle, rows, cols), { shape: [rows], dtype: 'f32', placement: 'replicated' });
  shards.maximum(max);
  const isRecorded = ambient.recording && logits.requiresGrad;
  const { statsHandle, exps } = isRecorded
    ? exponentials(logits, max, targets, firstColumn)
    : { statsHandle: engine.ceSums(logits.handle, max.handle, targets.handle, firstColumn, rows, cols), exps: undefined };
  const stats = new Tensor(statsHandle, { shape: [2, rows], dtype: 'f32', placement: 'replicated' }); // sum of exponentials, target logit
  shards.sum(stats);
  const loss = lossOfStatistics(stats, targets.shape);
  if (exps === undefined) return loss;
  return record(loss, {
    op: 'crossEntropy',
    inputs: [logits],
    saved: [exps, stats, targets],
    backward: (grad) => {
      // exps becomes (softmax - onehot) · grad
      engine.ceBackward(exps.handle, stats.handle, targets.handle, firstColumn, rows, cols, grad.handle);
      return [to(exps, logits.dtype)];
    },
  });
}

/** The exponentials `[…, v]` beside the handle of the statistics. */
function exponentials(logits: AnyTensor, max: AnyTensor, targets: AnyTensor, firstColumn: number) {
  const cols = extentOf(logits.shape, logits.shape.length - 1);
  engine.ceExpSum(logits.handle, max.handle, targets.handle, firstColumn, max.numel, cols, outs);
  const [expHandle, statsHandle] = outs as unknown as [number, number];
  const exps: AnyTensor = new Tensor(expHandle, { shape: logits.shape, dtype: 'f32', placement: logits.placement as Placement });
  return { statsHandle, exps };
}

/**
 * Cross entropy of each row of `logits` `[…, v]` against `targets` (i32) `[…]`, over a whole vocabulary.
 * @throws ShapeError SHAPE_MISMATCH, INDEX_OUT_OF_RANGE
 */
export function crossEntropy(logits: Tensor, targets: AnyTensor): Tensor {
  requireDType('crossEntropy', { targets }, 'i32');
  requireInside(targets.toArray<'i32'>(), logits.shape.at(-1) ?? 0);
  return shardedCrossEntropy(logits, targets, whole);
}

/** A target beyond the columns would count as one of another shard. */
function requireInside(targets: Int32Array, cols: number): void {
  const at = targets.findIndex((target) => target < 0 || target >= cols);
  if (at === -1) return;
  const sentence = `${where('crossEntropy')}: target ${targets[at]} at position ${at} is not in a vocabulary of ${cols}. Use 0 to ${cols - 1}.`;
  throw new ShapeError('INDEX_OUT_OF_RANGE', sentence, { fields: { target: targets[at], position: at, vocabSize: cols } });
}
