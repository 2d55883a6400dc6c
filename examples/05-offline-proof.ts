// Whether a step of 1,024 ranks can hang, answered by one process in seconds: each rank is played alone, and their records are compared.
//   npx tsx examples/05-offline-proof.ts [number of ranks, a multiple of 64]
import {
  allReduce,
  DistributedDataParallel,
  GPTModel,
  oneForwardOneBackward,
  type ParallelContext,
  runSchedule,
  tensor,
} from '@megatron-ts/core';
import { verifyWorld } from '@megatron-ts/core/testing';

const worldSize = Number(process.argv[2] ?? 1024);
const world = { worldSize, tensorModelParallelSize: 8, pipelineModelParallelSize: 8 }; // and 16 data-parallel ranks in 1,024
const [sequence, batch, numMicrobatches] = [4, 1, 8];

/** One step of one rank. The shapes are small: what is called, and in which order, is that of any size. */
function step(ctx: ParallelContext): void {
  const config = { vocabSize: 64, maxSequenceLength: sequence, hiddenSize: 16, numLayers: 8, numAttentionHeads: 8 };
  const gpt = new GPTModel({ ...config, ctx }).initialize(ctx);
  const model = new DistributedDataParallel(gpt, { dpGroup: ctx.dp });
  const schedule = oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches });
  ctx.step(0, () => {
    const tokens = tensor(new Int32Array(sequence * batch), [sequence, batch]);
    const microbatches = Array.from({ length: numMicrobatches }, () => ({ input: tokens, targets: tokens }));
    runSchedule({ ctx, schedule, chunks: [model], microbatches, lossOf: (output, { targets }) => gpt.lossOf(output, targets) });
  });
}

const start = performance.now();
const { ok, operations, groups } = await verifyWorld(world, step);
const seconds = ((performance.now() - start) / 1000).toFixed(1);
console.log(`${ok ? 'proven' : 'not proven'}: ${operations} operations of ${world.worldSize} ranks in ${groups} groups, in ${seconds} s`);

// The same with a mistake: rank 19 sums its loss over the wrong group. Found before anybody has waited for it.
const broken = await verifyWorld({ ...world, worldSize: 128 }, (ctx) => {
  step(ctx);
  const group = ctx.world.rank === 19 ? ctx.pp : ctx.dp;
  ctx.step(1, () =>
    allReduce(tensor([1], [1]), { group, label: 'mean loss' })
      .wait()
      .item(),
  );
});
console.log(`with a mistake: ${broken.problems[0] ?? 'nothing found'}`);
process.exitCode = ok && !broken.ok ? 0 : 1;
