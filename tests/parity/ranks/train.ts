import {
  Adam,
  type AnyTensor,
  DistributedDataParallel,
  GPTModel,
  gpipe,
  memoryStats,
  type Microbatch,
  MicrobatchSampler,
  oneForwardOneBackward,
  type Parameter,
  type ParallelContext,
  runSchedule,
  type Schedule,
  tensor,
} from '@megatron-ts/core';
import type { Held, Recording } from '../recording.ts';
import type { RunPlan } from '../run-plan.ts';

/** A text with more in it than twenty steps can learn, as tokens below `vocabSize`. */
export function tokensBelow(vocabSize: number): Uint8Array {
  const words = ['the', 'rank', 'waits', 'for', 'a', 'token', 'and', 'sums', 'what', 'came', 'before', 'it'];
  const text = Array.from({ length: 900 }, (_, i) => words[(i * i + (i >> 2)) % words.length]).join(' ');
  return new TextEncoder().encode(text).map((byte) => byte % vocabSize);
}

/** What a rank trains with; planted mistakes change it. */
export interface Trainer {
  readonly ctx: ParallelContext;
  readonly plan: RunPlan;
  readonly gpt: GPTModel;
  readonly model: DistributedDataParallel<GPTModel>;
  readonly optimizer: Adam;
  microbatchesOf: (step: number) => readonly Microbatch[];
  schedule: Schedule;
}

/** This rank's samples of a plan; `dataParallelRank` is its own by default. */
export function samplerFor(ctx: ParallelContext, plan: RunPlan, dataParallelRank: number = ctx.dp.rank): MicrobatchSampler {
  const { model, globalBatchSize, microbatchSize, seed } = plan;
  return new MicrobatchSampler({
    tokens: tokensBelow(model.vocabSize),
    sequenceLength: model.maxSequenceLength,
    globalBatchSize,
    microbatchSize,
    dataParallelSize: ctx.dp.size,
    dataParallelRank,
    seed,
  });
}

/** Model, optimizer, samples and schedule of a plan on this rank. */
export function buildTrainer(ctx: ParallelContext, plan: RunPlan): Trainer {
  const { clipGradNorm, accumulationGroups = 1 } = plan;
  const sampler = samplerFor(ctx, plan);
  const gpt = new GPTModel({ ...plan.model, ctx }).initialize(ctx);
  const model = new DistributedDataParallel(gpt, { dpGroup: ctx.dp, accumulationGroups, bucketBytes: 65_536 });
  const clip = clipGradNorm === undefined ? {} : { clipGradNorm };
  // A larger eps than usual: else the rounding of gradients near zero becomes steps of full size.
  const optimizer = new Adam(model.parameters(), { lr: 1e-3, betas: [0.9, 0.95], eps: 1e-5, weightDecay: 0.1, ...clip });
  const make = plan.schedule === 'gpipe' ? gpipe : oneForwardOneBackward;
  const schedule = make({ numStages: ctx.pp.size, numMicrobatches: sampler.numMicrobatches });
  return { ctx, plan, gpt, model, optimizer, schedule, microbatchesOf: (step) => sampler.step(step) };
}

/** Trains as the plan says, on all ranks of `ctx`, and writes down what this rank sees; `plant` may change the trainer first. */
export function train(ctx: ParallelContext, plan: RunPlan, plant: (trainer: Trainer) => void = () => undefined): Recording {
  const before = memoryStats().liveBytes;
  const trainer = buildTrainer(ctx, plan);
  plant(trainer);
  const { model, optimizer } = trainer;
  const gradients = new Map<number, readonly Held[]>();
  const [losses, gradNorms, liveBytes] = [new Float64Array(plan.steps), new Float64Array(plan.steps), new Float64Array(plan.steps)];
  const initial = heldBy(model, (parameter) => parameter);
  for (let n = 0; n < plan.steps; n++) {
    const record = plan.gradientsAt.includes(n + 1)
      ? () =>
          void gradients.set(
            n + 1,
            heldBy(model, ({ grad }) => grad),
          )
      : () => undefined;
    const { loss, gradNorm } = trainStep(trainer, n, record);
    losses[n] = loss;
    gradNorms[n] = gradNorm;
    liveBytes[n] = memoryStats().liveBytes;
  }
  const moments = momentsOf(optimizer);
  const recording = {
    initial,
    gradients,
    losses,
    gradNorms,
    final: heldBy(model, (parameter) => parameter),
    means: heldBy(model, (parameter) => moments.get(parameter)?.mean),
    squares: heldBy(model, (parameter) => moments.get(parameter)?.square),
    liveBytes,
  };
  optimizer.dispose();
  model.dispose();
  return { ...recording, leftBytes: memoryStats().liveBytes - before };
}

/** One step; `record` is called when gradients are finished and not yet used. */
export function trainStep(trainer: Trainer, n: number, record: () => void): { readonly loss: number; readonly gradNorm: number } {
  const { ctx, plan, gpt, model, optimizer, schedule, microbatchesOf } = trainer;
  return ctx.step(n, () => {
    const { loss } = runSchedule({
      ctx,
      schedule,
      chunks: [model],
      microbatches: microbatchesOf(n).map(({ tokens, targets, shape }) => ({
        input: tensor(tokens, shape),
        targets: tensor(targets, shape),
      })),
      lossOf: (output, { targets }) => gpt.lossOf(output, targets),
      forwardStep: (_, input, { targets }) => (plan.lossInForward === true ? model.call(input, targets) : model.call(input)),
    });
    record();
    return { loss, gradNorm: optimizer.step().gradNorm };
  });
}

/** What this rank holds of each parameter; a second use on the same rank holds nothing of its own. */
function heldBy(model: DistributedDataParallel<GPTModel>, pick: (parameter: Parameter) => AnyTensor | undefined): Held[] {
  return model.parameters().flatMap((parameter) => {
    const { name, sharedName = name, shape, meta, tiedTo } = parameter;
    if (tiedTo !== undefined) return [];
    return [
      { name: sharedName, shape, logical: meta.logical, values: (pick(parameter)?.toArray() ?? new Float32Array(0)) as Float32Array },
    ];
  });
}

interface Moments {
  readonly parameter: Parameter;
  readonly mean: AnyTensor;
  readonly square: AnyTensor;
}

/** Adam keeps its moments to itself. */
function momentsOf(optimizer: Adam): Map<Parameter, Moments> {
  const groups = Reflect.get(optimizer, 'groups') as readonly { readonly flat: { readonly places: readonly Moments[] } }[];
  return new Map(groups.flatMap(({ flat }) => flat.places.map((moments) => [moments.parameter, moments] as const)));
}
