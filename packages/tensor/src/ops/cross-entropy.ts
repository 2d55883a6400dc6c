import { ShapeError } from '@megatron-ts/errors';
import { ambient } from '../ambient.ts';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { firstOutside } from '../first-outside.ts';
import { record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { logitsGradient, place, placed, rowStatistic } from '../placements/index.ts';
import { extentOf, formatShape, numel, sameShape } from '../shape.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { to } from './cast.ts';
import { type CrossEntropyOptions, requireLossOptions } from './cross-entropy-options.ts';
import { lossNumbers, lossOfStatistics, statisticsPerRow } from './loss-of-statistics.ts';
import { requireDType } from './operands.ts';

const outs = new Uint32Array(2);

/** The part of the vocabulary that the columns of logits are, and the exchanges with its other parts; a whole vocabulary needs none. */
export interface ShardReduction {
  /** Number of the first column held here. */
  readonly firstColumn: number;
  /** Columns held here; columns behind them pad the memory: they are never read and get no gradient. All columns by default. */
  readonly columns?: number;
  /** Tokens of all shards. */
  readonly vocabSize: number;
  /** Makes each row's maximum that over all shards, in place. */
  maximum(rows: AnyTensor): void;
  /** Makes each row's statistics sums over all shards, in place. */
  sum(statistics: AnyTensor): void;
}

/**
 * `log(sum(exp(logits))) - logits[target]` of each row, or what `options` make of it, for logits whose columns may be spread over ranks.
 * `logits` `[…, v]`, `targets` (i32) `[…]`, result `[…]` in f32. The exponentials are kept, in f32, and become the gradient in place; what
 * records nothing makes none. The gradient of bf16 logits is rounded once.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, ConfigError INVALID_OPTION
 * @source Shoeybi et al. 2019, section 3
 */
export function shardedCrossEntropy(
  logits: AnyTensor,
  targets: AnyTensor,
  shards: ShardReduction,
  options: CrossEntropyOptions = {},
): Tensor {
  requireOperands(logits, targets);
  requireLossOptions('crossEntropy', options);
  const [rows, cols] = [numel(targets.shape), extentOf(logits.shape, logits.shape.length - 1)];
  const numbers = lossNumbers(shards, { rows, cols }, options);
  const max = new Tensor(engine.ceRowMax(logits.handle, numbers), { shape: [rows], dtype: 'f32', placement: 'replicated' });
  if (checksPlacements()) place(max, rowStatistic(placed(logits), 'max').layout);
  shards.maximum(max);
  const isRecorded = ambient.recording && logits.requiresGrad;
  const { sumsHandle, exps } = isRecorded
    ? exponentials(logits, { max, targets, numbers })
    : { sumsHandle: engine.ceSums(logits.handle, max.handle, targets.handle, numbers), exps: undefined };
  const sums = new Tensor(sumsHandle, { shape: [statisticsPerRow(options), rows], dtype: 'f32', placement: 'replicated' });
  if (checksPlacements()) place(sums, rowStatistic(placed(logits), 'sum').layout);
  shards.sum(sums);
  const loss = lossOfStatistics({ max, sums, targets }, numbers, targets.shape);
  if (exps === undefined) return loss;
  return record(loss, {
    op: 'crossEntropy',
    inputs: [logits],
    saved: [exps, sums, max, targets],
    backward: (grad) => {
      engine.ceBackward(exps.handle, sums.handle, max.handle, targets.handle, grad.handle, numbers); // exps becomes the gradient
      if (checksPlacements()) place(exps, logitsGradient(placed(logits), placed(grad)).layout);
      return [to(exps, logits.dtype)];
    },
  });
}

function requireOperands(logits: AnyTensor, targets: AnyTensor): void {
  requireDType('crossEntropy', { logits }, 'f32', 'bf16');
  requireDType('crossEntropy', { targets }, 'i32');
  if (logits.shape.length === 0 || !sameShape(logits.shape.slice(0, -1), targets.shape))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('crossEntropy')}: targets ${formatShape(targets.shape)} and logits ${formatShape(logits.shape)} do not fit. The targets need the shape of the logits without the last dim.`,
    );
}

interface Rows {
  readonly max: AnyTensor;
  readonly targets: AnyTensor;
  readonly numbers: Float64Array;
}

/** The exponentials `[…, v]` beside the handle of the statistics. */
function exponentials(logits: AnyTensor, { max, targets, numbers }: Rows) {
  engine.ceExpSum(logits.handle, max.handle, targets.handle, numbers, outs);
  const [expHandle, sumsHandle] = outs as unknown as [number, number];
  const exps: AnyTensor = new Tensor(expHandle, { shape: logits.shape, dtype: 'f32', placement: logits.placement as Placement });
  return { sumsHandle, exps };
}

/**
 * Cross entropy of each row of `logits` `[…, v]` against `targets` (i32) `[…]`, over a whole vocabulary: `[…]`, 0 where the target is
 * `ignoreIndex`. The mean over those that count is `div(sum(losses), countTargets(targets, ignoreIndex))`.
 * @throws ShapeError SHAPE_MISMATCH, INDEX_OUT_OF_RANGE, ConfigError INVALID_OPTION
 */
export function crossEntropy(logits: Tensor, targets: AnyTensor, options: CrossEntropyOptions = {}): Tensor {
  requireDType('crossEntropy', { targets }, 'i32');
  const vocabSize = logits.shape.at(-1) ?? 0;
  requireInside(targets, vocabSize, options.ignoreIndex);
  return shardedCrossEntropy(logits, targets, { firstColumn: 0, vocabSize, maximum: () => undefined, sum: () => undefined }, options);
}

/** A target beyond the columns would count as one of another shard. */
function requireInside(targets: AnyTensor, cols: number, ignored: number | undefined): void {
  const found = firstOutside(targets, { extent: cols, ignored });
  if (found === undefined) return;
  const { index: target, position } = found;
  const sentence = `${where('crossEntropy')}: target ${target} at position ${position} is not in a vocabulary of ${cols}. Use 0 to ${cols - 1}.`;
  throw new ShapeError('INDEX_OUT_OF_RANGE', sentence, { fields: { target, position, vocabSize: cols } });
}
