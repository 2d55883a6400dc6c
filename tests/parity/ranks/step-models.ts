import {
  Adam,
  type AnyTensor,
  BertModel,
  type BertModelOptions,
  type GPTConfig,
  globalGradNorm,
  GPTModel,
  initializeModelParallel,
  LlamaModel,
  type LlamaModelOptions,
  memoryStats,
  type Module,
  oneForwardOneBackward,
  type Parameter,
  type ParallelContext,
  runSchedule,
  type T5Config,
  T5Model,
  type Tensor,
  tensor,
} from '@megatron-ts/core';
import { type Held, type Recording, writeRecording } from '../recording.ts';
import type { ModelPlan } from '../model-plan.ts';

type AnyModel = GPTModel<boolean> | BertModel<boolean> | T5Model<boolean>;

/** Steps the models of those of `plans` that name this rank, one after another, and leaves a recording of each in `folder`. */
export async function stepModels(folder: string, plans: readonly ModelPlan[]): Promise<void> {
  const own = Number(process.env['RANK']);
  for (const plan of plans) {
    if (!plan.ranks.includes(own)) continue;
    const { layout, ranks, seed, name } = plan;
    const { tensor: tensorModelParallelSize, pipeline: pipelineModelParallelSize } = layout;
    await using ctx = await initializeModelParallel({ tensorModelParallelSize, pipelineModelParallelSize, ranks, seed });
    writeRecording(folder, { name, rank: ctx.world.rank }, record(ctx, plan));
  }
}

function record(ctx: ParallelContext, plan: ModelPlan): Recording {
  const before = memoryStats().liveBytes;
  const model = build(ctx, plan);
  model.initialize(ctx);
  // A larger eps than usual: else the rounding of gradients near zero becomes steps of full size.
  const optimizer = new Adam(model.parameters(), { lr: 1e-3, eps: 1e-5 });
  const gradients = new Map<number, readonly Held[]>();
  const curves = { losses: new Float64Array(plan.steps), gradNorms: new Float64Array(plan.steps), liveBytes: new Float64Array(plan.steps) };
  const initial = heldBy(model, (parameter) => parameter);
  for (let n = 0; n < plan.steps; n++) {
    ctx.step(n, () => {
      curves.losses[n] = runStep(model, ctx, plan);
      curves.gradNorms[n] = globalGradNorm(model.parameters(), { ctx });
      gradients.set(
        n + 1,
        heldBy(model, ({ grad }) => grad),
      );
      optimizer.step();
    });
    curves.liveBytes[n] = memoryStats().liveBytes;
  }
  const final = heldBy(model, (parameter) => parameter);
  optimizer.dispose();
  model.dispose();
  return { initial, gradients, ...curves, final, means: [], squares: [], leftBytes: memoryStats().liveBytes - before };
}

function build(ctx: ParallelContext, { family, model }: ModelPlan): AnyModel {
  if (family === 'BERT') return new BertModel<boolean>({ ...(model as BertModelOptions<boolean>), ctx });
  if (family === 'T5') return new T5Model<boolean>({ ...(model as T5Config<boolean>), ctx });
  if (family === 'Llama') return new LlamaModel<boolean>({ ...(model as LlamaModelOptions<boolean>), ctx });
  return new GPTModel<boolean>({ ...(model as GPTConfig<boolean>), ctx });
}

interface Microbatch {
  readonly input: Tensor;
  readonly targets: Tensor;
  readonly segments: Tensor;
  /** For a binary head. */
  readonly sentenceTargets: Tensor;
}

/** One forward and backward of all microbatches; returns the mean loss. */
function runStep(model: AnyModel, ctx: ParallelContext, plan: ModelPlan): number {
  const { numMicrobatches, packed } = plan;
  const hasBinaryHead = plan.family === 'BERT' && plan.model.addBinaryHead === true;
  const { loss } = runSchedule({
    ctx,
    schedule: oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches }),
    chunks: [model],
    microbatches: Array.from({ length: numMicrobatches }, (_, number) => microbatchOf(plan, number)),
    forwardStep: (chunk: Module, input: AnyTensor, { segments, targets, sentenceTargets }: Microbatch) => {
      const inputs = packed ? { segments } : {};
      // The decoder reads what it should write: nobody learns from that, but every number counts.
      if (chunk instanceof T5Model)
        return (chunk as T5Model<boolean>).call(input, targets, packed ? { segments, decoderSegments: segments } : {});
      if (!(chunk instanceof BertModel)) return (chunk as GPTModel<boolean>).call(input, undefined, inputs);
      return (chunk as BertModel<boolean>).call(input, hasBinaryHead ? { ...inputs, targets, sentenceTargets } : inputs);
    },
    lossOf: (output, { targets }) => model.lossOf(output, targets),
  });
  return loss;
}

/** Tokens without a pattern that a mistake could hide behind; rows of two documents, that of the first sample with padding behind. */
function microbatchOf({ model, batch }: ModelPlan, number: number): Microbatch {
  const { vocabSize, maxSequenceLength: seq } = model;
  const rows = (valueOf: (token: number, sample: number) => number) => {
    const values = Int32Array.from({ length: seq * batch }, (_, i) => valueOf(Math.floor(i / batch), i % batch));
    return tensor(values, [seq, batch]);
  };
  const word = (shift: number) => (token: number, sample: number) => (7 * token * token + 3 * sample + 11 * number + shift) % vocabSize;
  const segmentOf = (token: number, sample: number) => (sample === 0 && token >= seq - 2 ? -1 : token < seq / 2 ? 0 : 1);
  const sentenceTargets = tensor(Int32Array.from({ length: batch }, (_, sample) => (sample + number === 0 ? 1 : 0)));
  return { input: rows(word(0)), targets: rows(word(5)), segments: rows(segmentOf), sentenceTargets };
}

/** What this rank holds of each parameter; a second use on the same rank holds nothing of its own. */
function heldBy(model: AnyModel, pick: (parameter: Parameter) => AnyTensor | undefined): Held[] {
  return model
    .parameters()
    .filter(({ tiedTo }) => tiedTo === undefined)
    .map((parameter) => ({
      name: parameter.sharedName ?? parameter.name,
      shape: parameter.shape,
      logical: parameter.meta.logical,
      values: (pick(parameter)?.toArray() ?? new Float32Array(0)) as Float32Array,
    }));
}
