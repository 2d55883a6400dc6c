// A small Llama with more tensor-parallel ranks than keys and values, which several ranks then hold; and published sizes, counted.
//   npx megatron-ts run --ranks 4 examples/07-llama.ts --tensor 4 --sequence-parallel
import { parseArgs } from 'node:util';
import {
  Adam,
  describedPlace,
  DistributedDataParallel,
  initializeModelParallel,
  LlamaModel,
  llamaPresets,
  MicrobatchSampler,
  oneForwardOneBackward,
  parameterCount,
  runSchedule,
  tensor,
} from '@megatron-ts/core';

const { values } = parseArgs({
  options: { tensor: { type: 'string', default: '1' }, 'sequence-parallel': { type: 'boolean', default: false } },
});
await using ctx = await initializeModelParallel({ tensorModelParallelSize: Number(values.tensor), seed: 1234 });

const text = new TextEncoder().encode('the quick brown fox jumps over the lazy dog. '.repeat(100));
const sampler = new MicrobatchSampler({
  tokens: text,
  sequenceLength: 32,
  globalBatchSize: 8,
  microbatchSize: 4,
  dataParallelSize: ctx.dp.size,
  dataParallelRank: ctx.dp.rank,
  seed: 1234,
});

// Eight heads of queries share two of keys and values.
const sizes = { vocabSize: 256, maxSequenceLength: 32, hiddenSize: 64, numLayers: 2, numAttentionHeads: 8 };
const llama = new LlamaModel<boolean>({
  ...sizes,
  numKeyValueHeads: 2,
  ffnHiddenSize: 176,
  sequenceParallel: values['sequence-parallel'],
  ctx,
}).initialize(ctx);
const model = new DistributedDataParallel(llama, { dpGroup: ctx.dp });
const optimizer = new Adam(model.parameters(), { lr: 3e-3, clipGradNorm: 1 });
const schedule = oneForwardOneBackward({ numStages: 1, numMicrobatches: sampler.numMicrobatches });

for (let n = 0; n < 10 && !ctx.stopRequested; n++) {
  const loss = ctx.step(n, () => {
    const microbatches = sampler.step(n).map(({ tokens, targets, shape }) => ({
      input: tensor(tokens, shape),
      targets: tensor(targets, shape),
    }));
    const step = runSchedule({
      ctx,
      schedule,
      chunks: [model],
      microbatches,
      lossOf: (output, { targets }) => llama.lossOf(output, targets),
    });
    optimizer.step();
    return step.loss;
  });
  if (ctx.world.rank === 0) console.log(`step ${n} loss ${loss.toFixed(5)}`);
}

// A model takes no memory before initialize, so that any size can be counted, on any mesh.
if (ctx.world.rank === 0)
  for (const [name, config] of Object.entries(llamaPresets)) {
    const place = describedPlace({ tensorModelParallelSize: 8 });
    console.log(`${name} has ${parameterCount(new LlamaModel({ ...config, ctx: place })).toLocaleString('en')} parameters`);
  }
