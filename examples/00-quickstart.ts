// Trains a small GPT on the World Factbook with 8 ranks: data 2 x pipeline 2 x tensor 2.
//   npm run quickstart
import {
  Adam,
  ByteTokenizer,
  DistributedDataParallel,
  generate,
  GPTModel,
  initializeModelParallel,
  MetricsFile,
  MicrobatchSampler,
  oneForwardOneBackward,
  Progress,
  runSchedule,
  summary,
  tensor,
  warmupCosine,
} from '@megatron-ts/core';
import { readFactbook } from './factbook.ts';

const config = { vocabSize: 256, maxSequenceLength: 64, hiddenSize: 128, numLayers: 4, numAttentionHeads: 4 };
const numSteps = Number(process.env['QUICKSTART_STEPS'] ?? 400);
const training = {
  numSteps,
  globalBatchSize: 32,
  microbatchSize: 4,
  maxLr: 2e-3,
  warmupSteps: Math.round(numSteps / 10),
  seed: 1234,
};

await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2, pipelineModelParallelSize: 2, seed: training.seed });
const isMain = ctx.world.rank === 0;

const tokenizer = new ByteTokenizer();
const sampler = new MicrobatchSampler({
  tokens: tokenizer.encode(readFactbook()),
  sequenceLength: config.maxSequenceLength,
  globalBatchSize: training.globalBatchSize,
  microbatchSize: training.microbatchSize,
  dataParallelSize: ctx.dp.size,
  dataParallelRank: ctx.dp.rank,
  seed: training.seed,
});

const gpt = new GPTModel({ ...config, ctx }).initialize(ctx);
const model = new DistributedDataParallel(gpt, { dpGroup: ctx.dp });
const lr = warmupCosine({
  maxLr: training.maxLr,
  minLr: training.maxLr / 10,
  warmupSteps: training.warmupSteps,
  totalSteps: training.numSteps,
});
const optimizer = new Adam(model.parameters(), { lr, betas: [0.9, 0.95], weightDecay: 0.1, clipGradNorm: 1 });
const schedule = oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches: sampler.numMicrobatches });

const layout = { data: ctx.dp.size, pipeline: ctx.pp.size, tensor: ctx.tp.size };
const metrics = isMain ? new MetricsFile('quickstart', { seed: training.seed, config: { ...config, ...training }, layout }) : undefined;
const progress = isMain ? new Progress({ totalSteps: training.numSteps, lossUnit: 'nats per byte' }) : undefined;
if (isMain) {
  const mesh = `data ${layout.data} x pipeline ${layout.pipeline} x tensor ${layout.tensor}`;
  console.log(`${summary(gpt)}\n\nThis is the part of rank 0: ${ctx.world.size} ranks, ${mesh}.\n`);
}

for (let n = 0; n < training.numSteps && !ctx.stopRequested; n++) {
  const started = performance.now();
  const result = ctx.step(n, () => {
    const { loss, numTokens } = runSchedule({
      ctx,
      schedule,
      chunks: [model],
      microbatches: sampler
        .step(n)
        .map(({ tokens, targets, shape }) => ({ input: tensor(tokens, shape), targets: tensor(targets, shape) })),
      lossOf: (output, { targets }) => gpt.lossOf(output, targets),
    });
    const { gradNorm } = optimizer.step();
    return { loss, numTokens, gradNorm };
  });
  const { loss, gradNorm, numTokens } = result;
  const step = { step: n, loss, gradNorm, tokensPerSecond: numTokens / ((performance.now() - started) / 1000) };
  metrics?.step(step);
  progress?.step(step);
}
metrics?.close();

const prompt = tokenizer.encode('The country ');
const text = generate({ ctx, model: gpt, prompt, numTokens: 240, contextLength: config.maxSequenceLength, seed: training.seed });
if (isMain) console.log(`\n${tokenizer.decode(text)}\n\nMetrics are in ${metrics?.path ?? ''}.`);
