import { type Layout, layoutText, ranksFrom, type RunPlan, sizeOf, tiny } from '../../parity/run-plan.ts';
import { drawsFrom } from '../parity/random-plans.ts';

/** Faults that end a process or halt it. */
export const processFaults = ['killed', 'stopped', 'left'] as const;

/** Faults that a thread can commit just as well. */
export const threadFaults = ['threw', 'left', 'absent', 'kind', 'count', 'dtype', 'group'] as const;

/** A fault of one rank, somewhere in a loop of training. */
export interface FaultPlan {
  /** What was drawn, in words. */
  readonly text: string;
  readonly run: RunPlan;
  readonly kind: (typeof processFaults)[number] | (typeof threadFaults)[number];
  readonly culprit: number;
  readonly step: number;
  /** Before which of the step's operations on this rank, or before the last where there are fewer. */
  readonly operation: number;
}

/** The seed of all draws; the day's by default. */
export const seed = Number(process.env['MEGATRON_TEST_SEED'] ?? Math.floor(Date.now() / 86_400_000));

/** All ways to lay `size` ranks over three axes. */
function layoutsOf(size: number): Layout[] {
  const sizes = ranksFrom(1, size);
  const all = sizes.flatMap((data) => sizes.flatMap((pipeline) => sizes.map((tensor) => ({ data, pipeline, tensor }))));
  return all.filter((layout) => sizeOf(layout) === size);
}

/** Fault `number` of the seed, its kind being the next of `kinds`. */
export function drawFault(kinds: readonly FaultPlan['kind'][], number: number): FaultPlan {
  const below = drawsFrom(seed, number);
  const kind = kinds[number % kinds.length] as FaultPlan['kind'];
  const size = 2 + below(3);
  const layouts = layoutsOf(size);
  const layout = layouts[below(layouts.length)] as Layout;
  const { data, pipeline, tensor } = layout;
  const model = {
    ...{ vocabSize: 20, maxSequenceLength: 4, hiddenSize: 4 * tensor, ffnHiddenSize: 8 * tensor },
    ...{ numLayers: pipeline, numAttentionHeads: tensor, tieWordEmbeddings: below(2) > 0 },
  };
  const batch = { globalBatchSize: data * (1 + below(3)), microbatchSize: 1 };
  const run: RunPlan = { ...tiny, ...batch, model, layout, name: `fault ${number}`, ranks: ranksFrom(0, size), steps: 3, gradientsAt: [] };
  const [culprit, step, operation] = [below(size), below(run.steps), below(12)];
  const place = `rank ${culprit} of ${layoutText(layout)} in step ${step} before operation ${operation}`;
  return { text: `${number}: ${kind}, ${place}`, run, kind, culprit, step, operation };
}
