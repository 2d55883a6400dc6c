import { Adam, initializeModelParallel, mseLoss, ParallelMLP, tensor } from '@megatron-ts/core';

const ctx = await initializeModelParallel({ seed: 1 });
const mlp = new ParallelMLP({ hiddenSize: 4, ffnHiddenSize: 8, tpGroup: ctx.tp }).initialize(ctx);
const optimizer = new Adam(mlp.parameters(), { lr: 1e-2 });
const loss = ctx.step(0, () => {
  const l = mseLoss(mlp.call(tensor(new Float32Array(8).fill(1), [2, 1, 4])), tensor(new Float32Array(8), [2, 1, 4]));
  l.backward();
  optimizer.step();
  return l.item();
});
console.log('loss', Number.isFinite(loss));
await ctx.destroy();
