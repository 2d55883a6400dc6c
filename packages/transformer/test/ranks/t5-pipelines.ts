import { DistributedDataParallel } from '@megatron-ts/data-parallel';
import { Adam, globalGradNorm } from '@megatron-ts/optimizer';
import { runSchedule } from '@megatron-ts/pipeline-parallel';
import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { oneForwardOneBackward } from '@megatron-ts/schedule';
import { type AnyTensor, type Module, type Tensor, tensor } from '@megatron-ts/tensor';
import { type T5Config, T5Model } from '@megatron-ts/transformer';
import { type Stored, stored } from '../../../tensor-parallel/test/ranks/observe.ts';

/** One step of a model on one layout, as this rank saw it. */
export interface PipelineStep {
  readonly loss: number;
  readonly gradNorm: number;
  readonly initial: Stored[];
  readonly grads: Stored[];
  /** Weights after a step of Adam. */
  readonly final: Stored[];
  /** Layers of each stack on this rank. */
  readonly layers: readonly (readonly number[])[];
}

/** Layouts of four ranks by name; each runs on as many meshes side by side as there is room for. */
export const layouts = {
  alone: { dp: 1, tp: 1, pp: 1 },
  'pp 2': { dp: 1, tp: 1, pp: 2 },
  'pp 4': { dp: 1, tp: 1, pp: 4 },
  'dp 2, pp 2': { dp: 2, tp: 1, pp: 2 },
  'tp 2': { dp: 1, tp: 2, pp: 1 },
  'tp 2, pp 2': { dp: 1, tp: 2, pp: 2 },
} as const;

/** Names of layouts. */
export type LayoutName = keyof typeof layouts;

const sizes = { vocabSize: 29, hiddenSize: 16, headDim: 4, numAttentionHeads: 4, ffnHiddenSize: 24, maxDistance: 6, numBuckets: 8 };
const dropouts = { hiddenDropout: 0.2, attentionDropout: 0.2 };

/** Models by name. Under tensor parallelism the streams are cut along their sequences. */
export const models = {
  'two layers and two, tied, dropout': { ...sizes, ...dropouts, numLayers: 2 },
  'one layer and three, gated, a head of its own, recomputed, losses without logits': {
    ...sizes,
    numLayers: 1,
    numDecoderLayers: 3,
    activation: 'geglu',
    tiedHead: false,
    recompute: 'full',
    labelSmoothing: 0.1,
    zLoss: 0.01,
  },
} as const satisfies Readonly<Record<string, T5Config>>;

/** Names of models. */
export type ModelName = keyof typeof models;

/** Everything that one rank saw. */
export type PipelineSteps = Record<ModelName, Partial<Record<LayoutName, PipelineStep>>>;

const [read, written, batch, numMicrobatches] = [8, 4, 2, 4];

/** One step of every model on every layout. */
export async function pipelineSteps(): Promise<PipelineSteps> {
  const found = Object.fromEntries(Object.keys(models).map((name) => [name, {}])) as PipelineSteps;
  const rank = Number(process.env['RANK'] ?? 0);
  for (const [layout, { dp, tp, pp }] of Object.entries(layouts)) {
    const first = rank - (rank % (dp * tp * pp));
    const ranks = Array.from({ length: dp * tp * pp }, (_, i) => first + i);
    await using ctx = await initializeModelParallel({ ranks, tensorModelParallelSize: tp, pipelineModelParallelSize: pp, seed: 5 });
    for (const [name, config] of Object.entries(models))
      found[name as ModelName][layout as LayoutName] = step(new T5Model<boolean>({ ...config, ctx, sequenceParallel: tp > 1 }), {
        ctx,
        isFused: 'zLoss' in config,
      });
  }
  return found;
}

interface Microbatch {
  readonly input: Tensor;
  readonly decoderTokens: Tensor;
  readonly targets: Tensor;
  readonly segments: Tensor;
  readonly decoderSegments: Tensor;
}

function rowsOf(length: number, valueOf: (token: number, sample: number) => number): Tensor {
  const values = Int32Array.from({ length: length * batch }, (_, i) => valueOf(Math.floor(i / batch), i % batch));
  return tensor(values, [length, batch]);
}

/** Rows of which the second sample of the encoder's and the first of the decoder's end in padding. */
function microbatchOf(number: number): Microbatch {
  const word = (shift: number) => (token: number, sample: number) =>
    (7 * token * token + 3 * sample + 11 * number + shift) % sizes.vocabSize;
  return {
    input: rowsOf(read, word(0)),
    decoderTokens: rowsOf(written, (token, sample) => (token === 0 ? 0 : word(5)(token - 1, sample))),
    targets: rowsOf(written, (token, sample) => (sample === 0 && token === 3 ? -100 : word(5)(token, sample))),
    segments: rowsOf(read, (token, sample) => (sample === 1 && token >= 5 ? -1 : 0)),
    decoderSegments: rowsOf(written, (token, sample) => (sample === 0 && token === 3 ? -1 : 0)),
  };
}

function step(model: T5Model<boolean>, { ctx, isFused }: { readonly ctx: ParallelContext; readonly isFused: boolean }): PipelineStep {
  model.initialize(ctx);
  const chunk = ctx.dp.size > 1 ? new DistributedDataParallel(model, { dpGroup: ctx.dpCp }) : model;
  const optimizer = new Adam(chunk.parameters(), { lr: 1e-2 });
  const initial = stored(model, (parameter) => parameter);
  const own = numMicrobatches / ctx.dp.size;
  const seen = ctx.step(0, () => {
    const { loss } = runSchedule({
      ctx,
      schedule: oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches: own }),
      chunks: [chunk],
      microbatches: (index) => microbatchOf(ctx.dp.rank * own + index),
      forwardStep: (stage: Module, input: AnyTensor, { decoderTokens, segments, decoderSegments, targets }) =>
        (stage as T5Model<boolean>).call(input, decoderTokens, { segments, decoderSegments, ...(isFused ? { targets } : {}) }),
      activationShape: ({ input, decoderTokens }) => model.activationShape(input.shape, decoderTokens.shape),
      lossOf: (output, { targets }) => model.lossOf(output, targets),
    });
    const gradNorm = globalGradNorm(chunk.parameters(), { ctx });
    const grads = stored(model, (parameter) => parameter.grad);
    optimizer.step();
    return { loss, gradNorm, grads };
  });
  const final = stored(model, (parameter) => parameter);
  const layers = [model.encoder, model.decoder].map((stack) => [...stack.layers.keys()]);
  chunk.dispose();
  optimizer.dispose();
  return { ...seen, initial, final, layers };
}
