// A parallel MLP in a loop of one's own: the same curve with 1, 2 or 4 ranks.
//   npx megatron-ts run --ranks 2 examples/01-parallel-mlp.ts
import { Adam, DistributedDataParallel, initializeModelParallel, mseLoss, ParallelMLP, tensor } from '@megatron-ts/core';

/** Inputs and targets of one step, the same on every rank: y is a rotation of x, so there is something to learn. */
function batch(step: number): { x: Float32Array; y: Float32Array } {
  const random = (i: number) => (Math.sin((step * 65_537 + i) * 12.9898) * 43_758.5453) % 1;
  const x = Float32Array.from({ length: 32 * 8 * 256 }, (_, i) => random(i));
  return { x, y: x.map((_, i) => x[i - (i % 256) + ((i + 1) % 256)] ?? 0) };
}

// Two ranks share the layer's matrices; with twice as many, two pairs share the gradients.
const worldSize = Number(process.env['WORLD_SIZE'] ?? 1);
await using ctx = await initializeModelParallel({ tensorModelParallelSize: Math.min(2, worldSize), seed: 1234 });
const mlp = new ParallelMLP({ hiddenSize: 256, ffnHiddenSize: 1024, tpGroup: ctx.tp }).initialize(ctx);
const model = new DistributedDataParallel(mlp, { dpGroup: ctx.dp, gradReduction: 'mean' });
const optimizer = new Adam(model.parameters(), { lr: 1e-3 });

for (let n = 0; n < 20; n++) {
  const { x, y } = batch(n);
  const loss = ctx.step(n, () => {
    const l = mseLoss(model.call(tensor(x, [32, 8, 256])), tensor(y, [32, 8, 256]));
    l.backward();
    optimizer.step();
    optimizer.zeroGrad();
    return l.item();
  });
  if (ctx.world.rank === 0) console.log(`step ${n} loss ${loss.toFixed(5)}`);
}
