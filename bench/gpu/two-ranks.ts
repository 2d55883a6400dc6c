// Two ranks that share one device: sums a tensor over them and trains a small GPT in tensor parallel, and prints what came of it.
import { Adam, GPTModel, initializeModelParallel, mean, tensor } from '@megatron-ts/core';
import { tinyModel } from './models.ts';

// NCCL below 2.30 refuses a device that two ranks of one host have: they pass for two hosts, which meet over the loopback interface.
const settings = {
  NCCL_HOSTID: `rank-${process.env['RANK'] ?? '0'}`,
  NCCL_SOCKET_IFNAME: 'lo',
  NCCL_IB_DISABLE: '1',
  NCCL_NVLS_ENABLE: '0',
};
Object.assign(process.env, settings, { NCCL_MULTI_RANK_GPU_ENABLE: '1' });

/** The losses of four steps. */
async function train(): Promise<object> {
  const { hidden, layers, heads, vocab, seq, batch } = tinyModel;
  await using ctx = await initializeModelParallel({ seed: 1234, tensorModelParallelSize: 2 });
  const sizes = { vocabSize: vocab, maxSequenceLength: seq, hiddenSize: hidden, numLayers: layers, numAttentionHeads: heads };
  const model = new GPTModel({ ctx, ...sizes }).initialize(ctx);
  const optimizer = new Adam(model.parameters(), { lr: 1e-3, clipGradNorm: 1 });
  const text = Int32Array.from({ length: (seq + 1) * batch }, (_, i) => (i * i * 7 + 3) % vocab);
  const losses = Array.from({ length: 4 }, (_, n) =>
    ctx.step(n, () => {
      const loss = mean(model.call(tensor(text.subarray(0, seq * batch), [seq, batch]), tensor(text.subarray(batch), [seq, batch])));
      loss.backward();
      optimizer.step();
      return loss.item();
    }),
  );
  return { device: ctx.device, losses };
}

try {
  console.log(JSON.stringify({ ranks: 2, ...(await train()) }));
} catch (cause) {
  console.log(JSON.stringify({ ranks: 2, error: (cause as Error).message }));
  process.exitCode = 1;
}
