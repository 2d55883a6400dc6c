import type { GPTConfig } from '@megatron-ts/core';

/** How many ranks stand on each axis. */
export interface Layout {
  readonly data: number;
  readonly pipeline: number;
  readonly tensor: number;
}

/** One training run: everything a rank has to know. It travels to the ranks as it is. */
export interface RunPlan {
  /** Names the files of the recordings. */
  readonly name: string;
  readonly layout: Layout;
  /** World ranks it runs on, as many as the layout has. */
  readonly ranks: readonly number[];
  readonly model: GPTConfig;
  readonly globalBatchSize: number;
  readonly microbatchSize: number;
  readonly schedule: '1f1b' | 'gpipe';
  readonly steps: number;
  /** Steps whose gradients are recorded, counted from 1. */
  readonly gradientsAt: readonly number[];
  readonly clipGradNorm?: number;
  /** On one rank: sums the step's microbatches as this many data-parallel ranks would. */
  readonly accumulationGroups?: number;
  /** Whether the last stage computes losses from targets without ever holding all logits; it returns logits by default. */
  readonly lossInForward?: boolean;
  /** Name of a planted mistake. */
  readonly mistake?: string;
  readonly seed: number;
}

/** `2·1·4`: data, pipeline, tensor. */
export function layoutText({ data, pipeline, tensor }: Layout): string {
  return `${data}·${pipeline}·${tensor}`;
}

/** Number of ranks of a layout. */
export function sizeOf({ data, pipeline, tensor }: Layout): number {
  return data * pipeline * tensor;
}

/** `size` ranks from `first` on. */
export function ranksFrom(first: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => first + i);
}

/** One rank, against which every layout is held. */
export const alone: Layout = { data: 1, pipeline: 1, tensor: 1 };

/** The layouts beside one rank alone, with the ranks of a world of eight that walk them; neighbours in the list run side by side. */
export const walks: readonly { readonly layout: Layout; readonly first: number }[] = [
  { layout: { data: 2, pipeline: 1, tensor: 1 }, first: 2 },
  { layout: { data: 1, pipeline: 2, tensor: 1 }, first: 4 },
  { layout: { data: 1, pipeline: 1, tensor: 2 }, first: 6 },
  { layout: { data: 1, pipeline: 1, tensor: 4 }, first: 0 },
  { layout: { data: 1, pipeline: 4, tensor: 1 }, first: 4 },
  { layout: { data: 2, pipeline: 2, tensor: 1 }, first: 0 },
  { layout: { data: 2, pipeline: 1, tensor: 2 }, first: 4 },
  { layout: { data: 1, pipeline: 2, tensor: 2 }, first: 0 },
  { layout: { data: 2, pipeline: 2, tensor: 2 }, first: 0 },
];

/** Larger than usual: attention then tells tokens apart from the start, and its gradients stand clear of rounding. */
export const initStd = 0.1;

/** As much dropout as leaves the tiny model something to learn. */
export const dropouts = { hiddenDropout: 0.1, attentionDropout: 0.1 };

/** A GPT as small as can be, trained for twenty steps. */
export const tiny = {
  model: { vocabSize: 64, maxSequenceLength: 16, hiddenSize: 32, numLayers: 4, numAttentionHeads: 4, initStd },
  globalBatchSize: 16,
  microbatchSize: 2,
  schedule: '1f1b',
  steps: 20,
  gradientsAt: [1, 5],
  seed: 1234,
} as const satisfies Partial<RunPlan>;
