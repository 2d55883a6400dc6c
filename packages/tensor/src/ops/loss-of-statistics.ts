import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { lossPlaced, place, placed } from '../placements/index.ts';
import { result } from '../result.ts';
import type { Shape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import type { ShardReduction } from './cross-entropy.ts';
import type { CrossEntropyOptions } from './cross-entropy-options.ts';

/** Rows of logits in memory. */
export interface LogitRows {
  readonly rows: number;
  /** Columns, what pads them included. */
  readonly cols: number;
}

/** What the engine's pieces of a cross entropy are told: `[start, rows, cols, held, smoothing, vocabSize, z, ignored]`. */
export function lossNumbers(shards: ShardReduction, { rows, cols }: LogitRows, options: CrossEntropyOptions): Float64Array {
  const { firstColumn, columns = cols, vocabSize } = shards;
  const { labelSmoothing = 0, zLoss = 0, ignoreIndex = NaN } = options;
  return Float64Array.of(firstColumn, rows, cols, columns, labelSmoothing, vocabSize, zLoss, ignoreIndex);
}

/** Numbers that a row's loss is made of besides its maximum: with label smoothing, the sum of its logits as well. */
export function statisticsPerRow({ labelSmoothing = 0 }: CrossEntropyOptions): 2 | 3 {
  return labelSmoothing === 0 ? 2 : 3;
}

/** What the losses of rows are made of, over all shards. */
export interface Statistics {
  /** `[rows]`. */
  readonly max: AnyTensor;
  /** `[2 or 3, rows]`: sum of exponentials, logit of the target, sum of logits, all less the maximum. */
  readonly sums: AnyTensor;
  /** `[rows]`, or any shape of as many elements. */
  readonly targets: AnyTensor;
}

/** The cross entropy of each row. */
export function lossOfStatistics({ max, sums, targets }: Statistics, numbers: Float64Array, shape: Shape): Tensor {
  const loss = engine.ceLoss(sums.handle, max.handle, targets.handle, numbers);
  const losses = result('crossEntropy', loss, { shape: [...shape], dtype: 'f32', placement: 'replicated' });
  return checksPlacements() ? place(losses, lossPlaced([placed(max), placed(sums)], shape).layout) : losses;
}
