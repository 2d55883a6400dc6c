import { philox } from '@megatron-ts/data';
import { alone, initStd, type Layout, layoutText, ranksFrom, type RunPlan, sizeOf, walks } from '../../parity/run-plan.ts';

/** A run of a random configuration, and the plans of the runs it is held against. */
export interface RandomCase {
  /** What was drawn, in words. */
  readonly text: string;
  readonly plan: RunPlan;
  /** The same on one rank. */
  readonly single: RunPlan;
  /** The same on one rank, with microbatches summed in groups. */
  readonly grouped: RunPlan;
}

/** Whole numbers below `limit`, drawn from (seed, case) alone. */
export function drawsFrom(seed: number, number: number): (limit: number) => number {
  let next = 0;
  return (limit) => (philox([next++, number, 0, 0], [seed, 0])[0] as number) % limit;
}

/** Case `number` of a seed. */
export function randomCase(seed: number, number: number): RandomCase {
  const below = drawsFrom(seed, number);
  const { layout } = walks[number % walks.length] as { layout: Layout };
  const { data, pipeline, tensor } = layout;
  const numAttentionHeads = tensor * (1 + below(2));
  const hiddenSize = numAttentionHeads * (4 + 2 * below(4));
  const model = {
    vocabSize: 20 + below(50), // it need not divide
    maxSequenceLength: 4 + below(16),
    hiddenSize,
    numLayers: pipeline * (1 + below(2)),
    numAttentionHeads,
    ffnHiddenSize: tensor * (8 + below(24)),
    tieWordEmbeddings: below(3) > 0,
    bias: below(3) > 0,
    initStd,
    hiddenDropout: below(2) / 5,
    attentionDropout: below(2) / 10,
  };
  const microbatchSize = 1 + below(3);
  const numMicrobatches = 1 + below(5);
  const schedule = below(2) === 0 ? ('gpipe' as const) : ('1f1b' as const);
  const clip = below(2) === 0 ? {} : { clipGradNorm: 0.5 };
  const globalBatchSize = data * numMicrobatches * microbatchSize;
  const common = { model, microbatchSize, globalBatchSize, schedule, steps: 6, gradientsAt: [1, 5], seed: below(1e6), ...clip };
  const first = below(8 / sizeOf(layout)) * sizeOf(layout);
  const single = (name: string, rank: number): RunPlan => ({ ...common, name: `${name} ${number}`, layout: alone, ranks: [rank] });
  return {
    text: `${number}: ${layoutText(layout)} ${schedule} ${numMicrobatches} x ${microbatchSize} ${JSON.stringify(model)}`,
    plan: { ...common, name: `case ${number}`, layout, ranks: ranksFrom(first, sizeOf(layout)) },
    single: single('single', number % 8),
    grouped: { ...single('grouped', (number + 1) % 8), accumulationGroups: data },
  };
}
