import { finalizeGrads, initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { dropout, evaluate, tensor, withMicrobatch } from '@megatron-ts/tensor';
import { GPTModel } from '@megatron-ts/transformer';
import { type Stored, stored } from '../../../tensor-parallel/test/ranks/observe.ts';

/** One step of a model with dropout. */
export interface DroppedStep {
  readonly losses: Float32Array;
  readonly grads: Stored[];
  /** Losses inside `evaluate`, outside of any step. */
  readonly evaluated: Float32Array;
}

const sizes = { vocabSize: 13, maxSequenceLength: 8, hiddenSize: 16, numLayers: 2, numAttentionHeads: 4, initStd: 0.1 };

/** Layouts by name: tensor-parallel ranks, and whether the residual stream is cut along the sequence. */
export const layouts = {
  'tp 2': { tp: 2, sequenceParallel: false },
  'tp 2, sequence parallel': { tp: 2, sequenceParallel: true },
  'tp 4': { tp: 4, sequenceParallel: false },
  'tp 4, sequence parallel': { tp: 4, sequenceParallel: true },
};

/** What one layout gave, and the same on this rank alone. */
export type DroppedSteps = Record<keyof typeof layouts | 'alone' | 'alone, without dropout', DroppedStep>;

/** What a data-parallel rank draws in a loop of its own, and this rank alone as each microbatch of a step. */
export interface OwnLoop {
  readonly own: Float32Array;
  readonly dataParallelRank: number;
  readonly byMicrobatch: Float32Array[];
}

/** A dropout of ones on two data-parallel ranks that say nothing of microbatches. */
export async function ownLoop(): Promise<OwnLoop> {
  const drawn = () => dropout(tensor(new Float32Array(64).fill(1), [4, 2, 8]), { p: 0.5 }).toArray() as Float32Array;
  const ranks = [Number(process.env['RANK'])];
  await using ctx = await initializeModelParallel({ seed: 5 });
  await using alone = await initializeModelParallel({ ranks, seed: 5 });
  const own = ctx.step(1, drawn);
  return { own, dataParallelRank: ctx.dp.rank, byMicrobatch: alone.step(1, () => [0, 1].map((number) => withMicrobatch(number, drawn))) };
}

/** One step on every layout of four ranks. Data-parallel ranks run the same microbatch, so that all of them must agree. */
export async function droppedSteps(): Promise<DroppedSteps> {
  const found: [string, DroppedStep][] = [];
  for (const [name, { tp, sequenceParallel }] of Object.entries(layouts)) {
    await using ctx = await initializeModelParallel({ tensorModelParallelSize: tp, seed: 5 });
    found.push([name, dropped(ctx, { sequenceParallel, p: 0.2 })]);
  }
  const ranks = [Number(process.env['RANK'])];
  await using alone = await initializeModelParallel({ ranks, seed: 5 });
  found.push(['alone', dropped(alone, { sequenceParallel: false, p: 0.2 })]);
  found.push(['alone, without dropout', dropped(alone, { sequenceParallel: false, p: 0 })]);
  return Object.fromEntries(found) as DroppedSteps;
}

function dropped(ctx: ParallelContext, { sequenceParallel, p }: { readonly sequenceParallel: boolean; readonly p: number }): DroppedStep {
  const rates = { hiddenDropout: p, attentionDropout: p };
  const model = new GPTModel<boolean>({ ...sizes, ...rates, sequenceParallel, ctx }).initialize(ctx);
  const tokens = (shift: number) =>
    tensor(
      Int32Array.from({ length: 16 }, (_, i) => (5 * i + shift) % 13),
      [8, 2],
    );
  const step = ctx.step(3, () => {
    const losses = withMicrobatch(6, () => model.call(tokens(0), tokens(5))); // [8, 2]
    model.lossOf(losses).sum.backward();
    finalizeGrads(model.parameters(), { ctx });
    return { losses: losses.toArray() as Float32Array, grads: stored(model, (parameter) => parameter.grad) };
  });
  const evaluated = evaluate(() => model.call(tokens(0), tokens(5)).toArray() as Float32Array);
  model.dispose();
  return { ...step, evaluated };
}
