import { Adam, globalGradNorm } from '@megatron-ts/optimizer';
import { runSchedule } from '@megatron-ts/pipeline-parallel';
import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { oneForwardOneBackward } from '@megatron-ts/schedule';
import { type Tensor, tensor } from '@megatron-ts/tensor';
import { GPTModel, LlamaModel } from '@megatron-ts/transformer';
import { type Stored, stored } from '../../../tensor-parallel/test/ranks/observe.ts';

/** One step of a model on one layout, as this rank saw it. */
export interface LayoutStep {
  readonly loss: number;
  readonly gradNorm: number;
  readonly initial: Stored[];
  readonly grads: Stored[];
  /** Weights after a step of Adam. */
  readonly final: Stored[];
}

/** A mesh: tensor-parallel ranks and stages, and whether the residual stream is cut along the sequence. */
export interface Layout {
  readonly tp: number;
  readonly pp: number;
  readonly sequenceParallel: boolean;
}

/** Layouts by name; each runs on as many meshes side by side as there is room for. */
export const layouts = {
  alone: { tp: 1, pp: 1, sequenceParallel: false },
  'tp 2': { tp: 2, pp: 1, sequenceParallel: false },
  'tp 2, sequence parallel': { tp: 2, pp: 1, sequenceParallel: true },
  'tp 4': { tp: 4, pp: 1, sequenceParallel: false },
  'tp 4, sequence parallel': { tp: 4, pp: 1, sequenceParallel: true },
  'pp 2': { tp: 1, pp: 2, sequenceParallel: false },
  'tp 2, pp 2': { tp: 2, pp: 2, sequenceParallel: true },
} as const satisfies Readonly<Record<string, Layout>>;

const sizes = { vocabSize: 29, maxSequenceLength: 8, hiddenSize: 32, numLayers: 2, numAttentionHeads: 8, initStd: 0.1 };
const [seq, batch, numMicrobatches] = [8, 2, 2];

interface Place {
  readonly ctx: ParallelContext;
  readonly sequenceParallel: boolean;
}

/** Models by name. */
export const models = {
  'Llama with two keys and values': (place: Place) =>
    new LlamaModel<boolean>({ ...sizes, numKeyValueHeads: 2, ffnHiddenSize: 48, ...place }),
  'one key and value, normed heads, rotated neighbours, squared ReLU, tied': (place: Place) =>
    new GPTModel<boolean>({
      ...sizes,
      numKeyValueHeads: 1,
      headDim: 8,
      qkNorm: true,
      rotary: { fraction: 0.5, interleaved: true },
      activation: 'squaredRelu',
      ...place,
    }),
};

/** Names of models. */
export type ModelName = keyof typeof models;

/** Names of layouts. */
export type LayoutName = keyof typeof layouts;

/** Everything that one rank saw. */
export type LayoutSteps = Record<ModelName, Partial<Record<LayoutName, LayoutStep>>>;

/** One step of every model on every layout that `size` ranks have room for. */
export async function layoutSteps(size: number): Promise<LayoutSteps> {
  const found = Object.fromEntries(Object.keys(models).map((name) => [name, {}])) as Record<
    ModelName,
    Partial<Record<LayoutName, LayoutStep>>
  >;
  const rank = Number(process.env['RANK'] ?? 0);
  for (const [layout, { tp, pp, sequenceParallel }] of Object.entries(layouts)) {
    const first = rank - (rank % (tp * pp));
    const ranks = Array.from({ length: tp * pp }, (_, i) => first + i);
    if (tp * pp > size) continue;
    await using ctx = await initializeModelParallel({ ranks, tensorModelParallelSize: tp, pipelineModelParallelSize: pp, seed: 5 });
    for (const [name, build] of Object.entries(models))
      found[name as ModelName][layout as LayoutName] = step(build({ ctx, sequenceParallel }), ctx);
  }
  return found;
}

function tokensOf(microbatch: number, shift: number): Tensor {
  const walk = Int32Array.from({ length: seq * batch }, (_, i) => (7 * i * i + 3 * i + 11 * microbatch + shift) % sizes.vocabSize);
  return tensor(walk, [seq, batch]);
}

function step(model: GPTModel<boolean>, ctx: ParallelContext): LayoutStep {
  model.initialize(ctx);
  const optimizer = new Adam(model.parameters(), { lr: 1e-2 });
  const initial = stored(model, (parameter) => parameter);
  const schedule = oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches });
  const seen = ctx.step(0, () => {
    const { loss } = runSchedule({
      ctx,
      schedule,
      chunks: [model],
      microbatches: [0, 1].map((microbatch) => ({ input: tokensOf(microbatch, 0), targets: tokensOf(microbatch, 5) })),
      lossOf: (output, { targets }) => model.lossOf(output, targets),
    });
    const gradNorm = globalGradNorm(model.parameters(), { ctx });
    const grads = stored(model, (parameter) => parameter.grad);
    optimizer.step();
    return { loss, gradNorm, grads };
  });
  const final = stored(model, (parameter) => parameter);
  model.dispose();
  optimizer.dispose();
  return { ...seen, initial, final };
}
