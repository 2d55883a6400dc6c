// A GPT on a 3-D mesh in a loop of one's own. Any layout gives the same losses.
//   npx megatron-ts run --ranks 8 examples/03-gpt-3d.ts --tensor 2 --pipeline 2
import { parseArgs } from 'node:util';
import {
  Adam,
  DistributedDataParallel,
  GPTModel,
  initializeModelParallel,
  MicrobatchSampler,
  oneForwardOneBackward,
  runSchedule,
  tensor,
} from '@megatron-ts/core';

const { values } = parseArgs({
  options: {
    tensor: { type: 'string', default: '1' },
    pipeline: { type: 'string', default: '1' },
    steps: { type: 'string', default: '10' },
  },
});
await using ctx = await initializeModelParallel({
  tensorModelParallelSize: Number(values.tensor),
  pipelineModelParallelSize: Number(values.pipeline),
  seed: 1234,
});

// What is learnt: a text that repeats itself.
const text = new TextEncoder().encode('the quick brown fox jumps over the lazy dog. '.repeat(100));
const sampler = new MicrobatchSampler({
  tokens: text,
  sequenceLength: 32,
  globalBatchSize: 16,
  microbatchSize: 2,
  dataParallelSize: ctx.dp.size,
  dataParallelRank: ctx.dp.rank,
  seed: 1234,
});

// This rank's stage: embeddings on the first, head and loss on the last, layers cut over the tensor-parallel ranks.
const config = { vocabSize: 256, maxSequenceLength: 32, hiddenSize: 64, numLayers: 4, numAttentionHeads: 4 };
const gpt = new GPTModel({ ...config, ctx }).initialize(ctx);
const model = new DistributedDataParallel(gpt, { dpGroup: ctx.dp });
const optimizer = new Adam(model.parameters(), { lr: 1e-3, clipGradNorm: 1 });
const schedule = oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches: sampler.numMicrobatches });

for (let n = 0; n < Number(values.steps) && !ctx.stopRequested; n++) {
  const { loss, gradNorm } = ctx.step(n, () => {
    const { loss } = runSchedule({
      ctx,
      schedule,
      chunks: [model],
      microbatches: sampler
        .step(n)
        .map(({ tokens, targets, shape }) => ({ input: tensor(tokens, shape), targets: tensor(targets, shape) })),
      lossOf: (output, { targets }) => gpt.lossOf(output, targets),
    });
    return { loss, gradNorm: optimizer.step().gradNorm };
  });
  if (ctx.world.rank === 0) console.log(`step ${n} loss ${loss.toFixed(5)} grad norm ${gradNorm.toFixed(5)}`);
}
