// What one step of the quickstart's model moves between ranks, as ranks 1 and 5 see it:
//   npx megatron-ts run --ranks 8 bench/traffic.ts
import {
  Adam,
  countParameters,
  DistributedDataParallel,
  GPTModel,
  initializeModelParallel,
  oneForwardOneBackward,
  runSchedule,
  tensor,
} from '@megatron-ts/core';

const [sequence, batch, numMicrobatches] = [64, 4, 4];
await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2, pipelineModelParallelSize: 2, seed: 1234 });
const config = { vocabSize: 256, maxSequenceLength: sequence, hiddenSize: 128, numLayers: 4, numAttentionHeads: 4 };
const gpt = new GPTModel({ ...config, ctx }).initialize(ctx);
const model = new DistributedDataParallel(gpt, { dpGroup: ctx.dp });
const optimizer = new Adam(model.parameters(), { lr: 3e-3, clipGradNorm: 1 });
const schedule = oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches });
const names = ['tp', 'pp', 'dp', 'embedding', 'modelParallel'] as const;
for (const name of names) ctx[name].resetCounts();

ctx.step(0, () => {
  const tokens = tensor(new Int32Array(sequence * batch), [sequence, batch]);
  runSchedule({
    ctx,
    schedule,
    chunks: [model],
    microbatches: Array.from({ length: numMicrobatches }, () => ({ input: tokens, targets: tokens })),
    lossOf: (output, { targets }) => gpt.lossOf(output, targets),
  });
  optimizer.step();
});

if (ctx.world.rank % 4 === 1) {
  const { local, global, bytes } = countParameters(gpt.parameters());
  const lines = [`${ctx.place}: ${local} of ${global} parameters of its stage, ${bytes} bytes; ${model.numBuckets} bucket(s)`];
  for (const name of names) {
    const { bytes: moved, ...calls } = ctx[name].counts();
    const made = Object.entries(calls).filter(([, count]) => count > 0);
    lines.push(
      `  ${name} [${ctx[name].ranks.join(', ')}]: ${made.map(([call, count]) => `${count} ${call}`).join(', ')}; ${moved} bytes put in`,
    );
  }
  console.log(lines.join('\n'));
}
