import { runSchedule } from '@megatron-ts/pipeline-parallel';
import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { oneForwardOneBackward, type Schedule, scheduleFromCompute } from '@megatron-ts/schedule';
import { memoryStats, type Module, tensor } from '@megatron-ts/tensor';
import { type GPTConfig, GPTModel, type Recompute, type T5Config, T5Model } from '@megatron-ts/transformer';

/** Settings of `recompute` by name; the first computes nothing again. */
export const recomputes: Record<string, Recompute | undefined> = {
  nothing: undefined,
  full: 'full',
  'blocks of two': { method: 'uniform', numLayers: 2 },
  'the first layer': { method: 'block', numLayers: 1 },
  coreAttention: ['coreAttention'],
  activation: ['activation'],
  norm: ['norm'],
  'all parts': ['coreAttention', 'activation', 'norm'],
};

/** What one step of a model gave. */
export interface RecomputedStep {
  /** Bytes that the forward left for backward, where there is one. */
  readonly savedBytes: number;
  /** The loss and all gradients of this rank. */
  readonly values: Float32Array;
}

/** By setting of `recompute`. */
export type RecomputedSteps = Record<string, RecomputedStep>;

const sizes = { vocabSize: 13, maxSequenceLength: 8, hiddenSize: 16, numLayers: 3, numAttentionHeads: 4, initStd: 0.1 };
const dropouts = { hiddenDropout: 0.2, attentionDropout: 0.3 };

/** Models of one rank, of two with and without a cut sequence, in bf16, and in pipelines; each with every setting. */
export async function recomputedSteps(): Promise<Record<string, RecomputedSteps>> {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2 });
  await using alone = await initializeModelParallel({ ranks: [ctx.world.ranks[ctx.world.rank] ?? 0] });
  await using stages = await initializeModelParallel({ pipelineModelParallelSize: 2 });
  const each = (f: (recompute: Recompute | undefined) => RecomputedStep): RecomputedSteps =>
    Object.fromEntries(Object.entries(recomputes).map(([name, recompute]) => [name, f(recompute)]));
  const bf16 = { paramDType: 'bf16' } as const;
  const rms = { normalization: 'rmsNorm', activation: 'swiglu', bias: false, rotary: {}, numKeyValueHeads: 2, qkNorm: true } as const;
  const relu = { activation: 'squaredRelu' } as const;
  return {
    'one rank': each((recompute) => modelStep(alone, { recompute })),
    'one rank with dropout': each((recompute) => modelStep(alone, { recompute, ...dropouts })),
    'one rank with squared ReLU': each((recompute) => modelStep(alone, { recompute, ...relu })),
    'two ranks with dropout': each((recompute) => modelStep(ctx, { recompute, ...dropouts })),
    'sequence parallelism': each((recompute) => modelStep(ctx, { recompute, sequenceParallel: true })),
    'sequence parallelism in bf16, gated, with dropout': each((recompute) =>
      modelStep(ctx, { recompute, sequenceParallel: true, ...bf16, ...rms, ...dropouts }),
    ),
    'a pipeline with dropout': each((recompute) => pipelineStep(stages, { recompute, ...dropouts }, oneForwardOneBackward)),
    'a pipeline with deferred weight gradients': each((recompute) => pipelineStep(stages, { recompute, ...dropouts }, split)),
    'deferred weight gradients under sequence parallelism': each((recompute) =>
      pipelineStep(ctx, { recompute, ...dropouts, sequenceParallel: true }, splitAlone),
    ),
    'a gated T5': each((recompute) => t5Step(alone, { recompute, activation: 'geglu' })),
    'a T5 on two ranks with dropout': each((recompute) => t5Step(ctx, { recompute, ...dropouts })),
    'a gated T5 in bf16 under sequence parallelism, with dropout': each((recompute) =>
      t5Step(ctx, { recompute, ...bf16, ...dropouts, activation: 'geglu', tiedHead: false, sequenceParallel: true }),
    ),
  };
}

type Config = Partial<GPTConfig<boolean>>;

function tokens(shift: number, length = 6) {
  return tensor(
    Int32Array.from({ length: 2 * length }, (_, i) => (5 * i + shift) % 13),
    [length, 2],
  );
}

function gradientsOf(model: Module, loss: number): Float32Array {
  const found = model.parameters().map(({ grad }) => grad?.toArray() ?? new Float32Array(0));
  return Float32Array.from([loss, ...found.flatMap((values) => [...values])]);
}

function modelStep(ctx: ParallelContext, config: Config): RecomputedStep {
  const model = new GPTModel<boolean>({ ...sizes, ...config, ctx }).initialize(ctx);
  return ctx.step(3, () => {
    const [input, targets] = [tokens(0), tokens(5)];
    const before = memoryStats().liveBytes;
    const { sum } = model.lossOf(model.call(input, targets));
    const savedBytes = memoryStats().liveBytes - before;
    sum.backward();
    return { savedBytes, values: gradientsOf(model, sum.item()) };
  });
}

/** A decoder of four tokens, which looks at an encoder's six, the last two of the second sample being padding. */
function t5Step(ctx: ParallelContext, config: Partial<T5Config<boolean>>): RecomputedStep {
  const { vocabSize, hiddenSize, numAttentionHeads, numLayers } = sizes;
  const model = new T5Model<boolean>({ vocabSize, hiddenSize, numAttentionHeads, numLayers, numBuckets: 8, ...config, ctx }).initialize(
    ctx,
  );
  const segments = () =>
    tensor(
      Int32Array.from({ length: 12 }, (_, i) => (i % 2 === 1 && i > 7 ? -1 : 0)),
      [6, 2],
    );
  return ctx.step(3, () => {
    const [input, written, targets, told] = [tokens(0), tokens(3, 4), tokens(5, 4), { segments: segments() }];
    const before = memoryStats().liveBytes;
    const { sum } = model.lossOf(model.call(input, written, told), targets);
    const savedBytes = memoryStats().liveBytes - before;
    sum.backward();
    return { savedBytes, values: gradientsOf(model, sum.item()) };
  });
}

const split = () => scheduleFromCompute('split', ['F0 F1 I0 F2 W0 I1 F3 W1 I2 W2 I3 W3', 'F0 I0 F1 I1 W0 W1 F2 I2 F3 I3 W2 W3']);
const splitAlone = () => scheduleFromCompute('split alone', ['F0 F1 I0 F2 I1 W0 F3 W1 I2 I3 W2 W3']);

function pipelineStep(ctx: ParallelContext, config: Config, make: (of: { numStages: number; numMicrobatches: number }) => Schedule) {
  const model = new GPTModel<boolean>({ ...sizes, numLayers: 4, ...config, ctx }).initialize(ctx);
  return ctx.step(3, () => {
    const { loss } = runSchedule({
      ctx,
      schedule: make({ numStages: ctx.pp.size, numMicrobatches: 4 }),
      chunks: [model],
      microbatches: (index) => ({ input: tokens(index), targets: tokens(index + 5) }),
      lossOf: (output, { targets }) => model.lossOf(output, targets),
    });
    return { savedBytes: 0, values: gradientsOf(model, loss) };
  });
}
