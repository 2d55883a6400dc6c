import { Adam, globalGradNorm } from '@megatron-ts/optimizer';
import { runSchedule } from '@megatron-ts/pipeline-parallel';
import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { oneForwardOneBackward } from '@megatron-ts/schedule';
import { type AnyTensor, evaluate, type Module, type Tensor, tensor } from '@megatron-ts/tensor';
import { BertModel, GPTModel, LlamaModel } from '@megatron-ts/transformer';
import { type Stored, stored } from '../../../tensor-parallel/test/ranks/observe.ts';

/** One step of a model on one layout, as this rank saw it. */
export interface LayoutStep {
  readonly loss: number;
  readonly gradNorm: number;
  readonly initial: Stored[];
  readonly grads: Stored[];
  /** Logits of the whole vocabulary, and of the binary head where there is one; none where there are stages. */
  readonly logits: Float32Array;
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

const sizes = { vocabSize: 29, maxSequenceLength: 8, hiddenSize: 32, numLayers: 2, numAttentionHeads: 8, initStd: 0.1, ignoreIndex: -100 };
const [seq, batch, numMicrobatches] = [8, 2, 2];

interface Place {
  readonly ctx: ParallelContext;
  readonly sequenceParallel: boolean;
}

/** A microbatch as every stage gets it. */
interface Microbatch {
  readonly input: Tensor;
  readonly targets: Tensor;
  /** Documents of each row, the last tokens of the second row being padding. */
  readonly segments: Tensor;
  readonly tokenTypes: Tensor;
  /** Of the binary head. */
  readonly sentenceTargets: Tensor;
}

interface Family {
  readonly build: (place: Place) => GPTModel<boolean> | BertModel<boolean>;
  readonly forward: (chunk: Module, input: AnyTensor, microbatch: Microbatch) => AnyTensor;
}

const callGPT: Family['forward'] = (chunk, input) => (chunk as GPTModel<boolean>).call(input);

/** Models by name. */
export const models: Readonly<Record<ModelName, Family>> = {
  'Llama with two keys and values, of packed documents': {
    build: (place) => new LlamaModel<boolean>({ ...sizes, numKeyValueHeads: 2, ffnHiddenSize: 48, ...place }),
    forward: (chunk, input, { segments }) => (chunk as GPTModel<boolean>).call(input, undefined, { segments }),
  },
  'one key and value, normed heads, rotated neighbours, squared ReLU, tied': {
    build: (place) =>
      new GPTModel<boolean>({
        ...sizes,
        numKeyValueHeads: 1,
        headDim: 8,
        qkNorm: true,
        rotary: { fraction: 0.5, interleaved: true },
        activation: 'squaredRelu',
        ...place,
      }),
    forward: callGPT,
  },
  'BERT with padding, norms behind': {
    build: (place) => new BertModel<boolean>({ ...sizes, ...place }),
    forward: (chunk, input, { segments, tokenTypes }) => (chunk as BertModel<boolean>).call(input, { segments, tokenTypes }),
  },
  'BERT, norms before, both heads, smoothed losses': {
    build: (place) =>
      new BertModel<boolean>({ ...sizes, normPlacement: 'pre', addBinaryHead: true, labelSmoothing: 0.1, zLoss: 0.01, ...place }),
    forward: (chunk, input, { input: _, segments: __, ...inputs }) => (chunk as BertModel<boolean>).call(input, inputs),
  },
};

/** Names of models. */
export type ModelName =
  | 'Llama with two keys and values, of packed documents'
  | 'one key and value, normed heads, rotated neighbours, squared ReLU, tied'
  | 'BERT with padding, norms behind'
  | 'BERT, norms before, both heads, smoothed losses';

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
    for (const [name, { build, forward }] of Object.entries(models))
      found[name as ModelName][layout as LayoutName] = step(build({ ctx, sequenceParallel }), { ctx, forward });
  }
  return found;
}

function rowsOf(valueOf: (token: number, sample: number) => number): Tensor {
  const values = Int32Array.from({ length: seq * batch }, (_, i) => valueOf(Math.floor(i / batch), i % batch));
  return tensor(values, [seq, batch]);
}

function microbatchOf(number: number): Microbatch {
  const word = (shift: number) => (token: number, sample: number) =>
    (7 * token * token + 3 * sample + 11 * number + shift) % sizes.vocabSize;
  return {
    input: rowsOf(word(0)),
    targets: rowsOf((token, sample) => (token < 3 * sample ? -100 : word(5)(token, sample))),
    sentenceTargets: tensor(Int32Array.of(number, 1 - number), [batch]),
    segments: rowsOf((token, sample) => (sample === 0 ? Math.floor(token / 3) : token < 5 ? 0 : -1)),
    tokenTypes: rowsOf((token) => (token < 4 ? 0 : 1)),
  };
}

function step(
  model: GPTModel<boolean> | BertModel<boolean>,
  { ctx, forward }: { ctx: ParallelContext; forward: Family['forward'] },
): LayoutStep {
  model.initialize(ctx);
  const optimizer = new Adam(model.parameters(), { lr: 1e-2 });
  const initial = stored(model, (parameter) => parameter);
  const schedule = oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches });
  const logits = ctx.pp.size > 1 ? new Float32Array(0) : evaluate(() => logitsOf(model));
  const seen = ctx.step(0, () => {
    const { loss } = runSchedule({
      ctx,
      schedule,
      chunks: [model],
      microbatches: [0, 1].map(microbatchOf),
      forwardStep: forward,
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
  return { ...seen, initial, logits, final };
}

function logitsOf(model: GPTModel<boolean> | BertModel<boolean>): Float32Array {
  const { input, segments, tokenTypes } = microbatchOf(0);
  if (model instanceof GPTModel) return model.logits(input).toArray() as Float32Array;
  const whole = model.logits(input, { segments, tokenTypes }).toArray() as Float32Array;
  const { sentenceLogits } = model.outputs(input, { segments, tokenTypes });
  return Float32Array.from([...whole, ...(sentenceLogits?.toArray() ?? [])]);
}
