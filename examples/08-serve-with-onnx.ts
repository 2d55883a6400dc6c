// Trains a sharded GPT, writes it as one ONNX file, and lets ONNX Runtime go on with a text. What serves knows nothing of the ranks.
//   npx megatron-ts run --ranks 4 examples/08-serve-with-onnx.ts
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import {
  Adam,
  ByteTokenizer,
  DistributedDataParallel,
  GPTModel,
  initializeModelParallel,
  MicrobatchSampler,
  oneForwardOneBackward,
  runSchedule,
  tensor,
} from '@megatron-ts/core';
import { exportOnnx } from '@megatron-ts/onnx';

const { values } = parseArgs({
  options: { model: { type: 'string', default: 'runs/serve-with-onnx/fox.onnx' }, steps: { type: 'string', default: '40' } },
});
await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2, pipelineModelParallelSize: 2, seed: 1234 });

// Training, as in 03: what is learnt is a text that repeats itself.
const tokenizer = new ByteTokenizer();
const sampler = new MicrobatchSampler({
  tokens: tokenizer.encode('the quick brown fox jumps over the lazy dog. '.repeat(100)),
  sequenceLength: 32,
  globalBatchSize: 16,
  microbatchSize: 4,
  dataParallelSize: ctx.dp.size,
  dataParallelRank: ctx.dp.rank,
  seed: 1234,
});
const config = { vocabSize: 256, maxSequenceLength: 32, hiddenSize: 64, numLayers: 2, numAttentionHeads: 4, activation: 'swiglu' } as const;
const gpt = new GPTModel({ ...config, ctx }).initialize(ctx);
const model = new DistributedDataParallel(gpt, { dpGroup: ctx.dp });
const optimizer = new Adam(model.parameters(), { lr: 5e-3, clipGradNorm: 1 });
const schedule = oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches: sampler.numMicrobatches });
for (let n = 0; n < Number(values.steps); n++) {
  const loss = ctx.step(n, () => {
    const { loss } = runSchedule({
      ctx,
      schedule,
      chunks: [model],
      microbatches: sampler
        .step(n)
        .map(({ tokens, targets, shape }) => ({ input: tensor(tokens, shape), targets: tensor(targets, shape) })),
      lossOf: (output, { targets }) => gpt.lossOf(output, targets),
    });
    optimizer.step();
    return loss;
  });
  if (ctx.world.rank === 0 && n % 10 === 9) console.log(`step ${n} loss ${loss.toFixed(5)}`);
}

// Every rank calls it; rank 0 writes.
if (ctx.world.rank === 0) mkdirSync(dirname(values.model), { recursive: true });
exportOnnx(gpt, values.model, { ctx });

// Serving: any program with ONNX Runtime, in any language, could do this.
if (ctx.world.rank === 0) {
  const { InferenceSession, Tensor } = await import('onnxruntime-node');
  const session = await InferenceSession.create(values.model);
  const text = [...tokenizer.encode('the quick ')];
  while (text.length < config.maxSequenceLength) {
    const tokens = new Tensor('int64', BigInt64Array.from(text, BigInt), [1, text.length]); // [batch, sequence]
    const { logits } = await session.run({ tokens }); // [batch, sequence, v]
    const last = (logits?.data as Float32Array).subarray(-config.vocabSize);
    text.push(last.indexOf(Math.max(...last)));
  }
  console.log(`served: ${tokenizer.decode(text)}`);
}
