// A mistake on purpose: rank 2 takes a branch that the others do not. Every rank says the same, and a table shows who did what.
//   npx megatron-ts run --ranks 4 examples/06-when-ranks-disagree.ts
import { allReduce, barrier, initializeModelParallel, tensor } from '@megatron-ts/core';

await using ctx = await initializeModelParallel({ tensorModelParallelSize: 4 });
for (let n = 0; n < 3; n++)
  ctx.step(n, () => {
    allReduce(tensor(new Float32Array(1024)), { group: ctx.tp, label: 'layers.1.mlp.down' }).wait();
    if (n === 2 && ctx.tp.rank === 2) barrier({ group: ctx.tp, label: 'before the checkpoint' }).wait();
  });
