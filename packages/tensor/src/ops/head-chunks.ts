import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { contracted, layoutOf, place, placed, type Placed, rowStatistic } from '../placements/index.ts';
import { scope } from '../scope.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import type { ShardReduction } from './cross-entropy.ts';
import type { CrossEntropyOptions } from './cross-entropy-options.ts';
import { copyInto, empty, filled } from './in-place.ts';
import { lossNumbers, lossOfStatistics, type Statistics, statisticsPerRow } from './loss-of-statistics.ts';
import { alias } from './view.ts';

/** Logits that a chunk should have: 32 MiB, a share of the outermost cache. */
const chunkLogits = 2 ** 23;
/** A chunk's tokens are a multiple of this, and never fewer: below it, reading the weight anew for each chunk shows. */
const fewTokens = 512;

/** What a head multiplies and compares. */
export interface Head {
  /** Hidden states, `[…, h]`. */
  readonly x: AnyTensor;
  /** `[v, h]`, the columns from `shards.firstColumn` on. */
  readonly weight: AnyTensor;
  /** Token after each (i32), `[…]`. */
  readonly targets: AnyTensor;
  /** The exchanges with other shards of the vocabulary. */
  readonly shards: ShardReduction;
  /** The engine's number for what products are computed in. */
  readonly compute: 0 | 1;
  /** What the losses add and leave out. */
  readonly options: CrossEntropyOptions;
}

/** What the forward pass keeps of each row, so that a second pass needs no exchange: maximum and statistics over all shards. */
interface RowStatistics {
  readonly max: AnyTensor;
  /** Chunk after chunk, each `[2 or 3, rows of the chunk]`. */
  readonly sums: AnyTensor;
}

/** Where gradients go. */
export interface HeadGradients {
  /** Gradient of the hidden states, in their dtype. */
  readonly input: AnyTensor;
  /** Gradient of the weight in f32, overwritten; absent when it is not wanted. */
  readonly weight: AnyTensor | undefined;
}

/** The token rows of one chunk. */
interface Chunk {
  readonly start: number;
  readonly count: number;
}

/**
 * A linear layer and the cross entropy of its result, over chunks of tokens whose limits follow from the shapes alone: only one chunk of
 * logits exists at a time, in f32 whatever the operands are, and becomes its own gradient in place.
 */
export class HeadChunks {
  /** What it was made of. */
  readonly head: Head;
  private readonly rows: number;
  private readonly inner: number;
  private readonly cols: number;
  private readonly perRow: 2 | 3;
  private readonly chunks: readonly Chunk[];
  /** What a second pass reads. */
  readonly statistics: RowStatistics;

  constructor(head: Head) {
    this.head = head;
    this.rows = head.targets.numel;
    [this.cols, this.inner] = head.weight.shape as [number, number];
    const size = Math.max(1, Math.floor(chunkLogits / this.cols / fewTokens)) * fewTokens;
    this.chunks = Array.from({ length: Math.ceil(this.rows / size) }, (_, i) => ({
      start: i * size,
      count: Math.min(size, this.rows - i * size),
    }));
    this.perRow = statisticsPerRow(head.options);
    this.statistics = { max: empty([this.rows]), sums: empty([this.perRow * this.rows]) };
  }

  /** Losses `[rows]`; with `gradients`, those of their sum. */
  forward(gradients: HeadGradients | undefined): AnyTensor {
    const losses = empty([this.rows]);
    const factors = gradients === undefined ? undefined : filled([this.rows], { value: 1 });
    this.overChunks((logits, chunk) => {
      const { shards } = this.head;
      const { start, count } = chunk;
      const numbers = this.numbersOf(chunk);
      const { max, sums, targets } = this.statisticsOf(chunk);
      copyInto(max, new Tensor(engine.ceRowMax(logits.handle, numbers), { shape: [count], dtype: 'f32', placement: 'replicated' }));
      if (checksPlacements()) place(max, rowStatistic(this.logitsPlaced, 'max').layout);
      shards.maximum(max);
      engine.ceExpSumInPlace(logits.handle, max.handle, targets.handle, numbers, sums.handle);
      if (checksPlacements()) place(sums, rowStatistic(this.logitsPlaced, 'sum').layout);
      shards.sum(sums);
      const loss = lossOfStatistics({ max, sums, targets }, numbers, [count]);
      if (checksPlacements()) place(losses, layoutOf(loss));
      copyInto(alias(losses, [count], start), loss);
      if (gradients !== undefined && factors !== undefined) this.gradientsOf(logits, chunk, { factors, gradients });
    });
    return losses;
  }

  /** Computes the logits once more, for the gradients of the losses times `factors` `[rows]`. */
  recompute(factors: AnyTensor, gradients: HeadGradients): void {
    this.overChunks((logits, chunk) => {
      const { max, targets } = this.statisticsOf(chunk);
      const own = empty([this.perRow, chunk.count]);
      engine.ceExpSumInPlace(logits.handle, max.handle, targets.handle, this.numbersOf(chunk), own.handle);
      this.gradientsOf(logits, chunk, { factors, gradients });
    });
  }

  /** A chunk's part of what is kept, where it lies. */
  private statisticsOf({ start, count }: Chunk): Statistics {
    const { max, sums } = this.statistics;
    const targets = alias(this.head.targets, [count], start);
    return { max: alias(max, [count], start), sums: alias(sums, [this.perRow, count], this.perRow * start), targets };
  }

  /** The logits of all tokens, which never exist, as the placement checker sees them: `[…, v]`. */
  get logitsPlaced(): Placed {
    const { x, weight } = this.head;
    const rows = x.shape.slice(0, -1).map((_, dim) => `row ${dim}`);
    const operands = [
      { operand: placed(x), labels: [...rows, 'h'] },
      { operand: placed(weight), labels: ['v', 'h'] },
    ] as const;
    return contracted('linearCrossEntropy', operands, { shape: [...x.shape.slice(0, -1), this.cols], labels: [...rows, 'v'] });
  }

  private numbersOf({ count }: Chunk): Float64Array {
    return lossNumbers(this.head.shards, { rows: count, cols: this.cols }, this.head.options);
  }

  private overChunks(visit: (logits: AnyTensor, chunk: Chunk) => void): void {
    const { x, weight, compute } = this.head;
    scope(() => {
      const buffer = empty([this.chunks[0]?.count ?? 0, this.cols]);
      for (const chunk of this.chunks)
        scope(() => {
          const { start, count } = chunk;
          const logits = alias(buffer, [count, this.cols]); // [rows of the chunk, v]
          const layout = Uint32Array.of(1, count, this.cols, this.inner, 0, 0, 0, 1); // x · weightᵀ
          engine.matmulInto(logits.handle, alias(x, [count, this.inner], start * this.inner).handle, weight.handle, layout, false, compute);
          visit(logits, chunk);
        });
    });
  }

  /** Turns a chunk's exponentials into the gradient of its logits, and multiplies. */
  private gradientsOf(
    exponentials: AnyTensor,
    chunk: Chunk,
    { factors, gradients }: { readonly factors: AnyTensor; readonly gradients: HeadGradients },
  ): void {
    const { x, weight, compute } = this.head;
    const { inner, cols } = this;
    const { start, count } = chunk;
    const { max, sums, targets } = this.statisticsOf(chunk);
    const scale = alias(factors, [count], start);
    engine.ceBackward(exponentials.handle, sums.handle, max.handle, targets.handle, scale.handle, this.numbersOf(chunk));
    const hidden = (tensor: AnyTensor) => alias(tensor, [count, inner], start * inner).handle;
    const inputLayout = Uint32Array.of(1, count, inner, cols, 0, 0, 0, 0); // grad · weight: [rows of the chunk, h]
    engine.matmulInto(hidden(gradients.input), exponentials.handle, weight.handle, inputLayout, false, compute);
    if (gradients.weight === undefined) return;
    const weightLayout = Uint32Array.of(1, cols, inner, count, 0, 0, 1, 0); // gradᵀ · x: [v, h]
    engine.matmulInto(gradients.weight.handle, exponentials.handle, hidden(x), weightLayout, start > 0, compute);
  }
}
