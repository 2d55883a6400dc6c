// A pipeline schedule of one's own, written as data: proven before it runs, drawn, timed, and executed.
//   npx megatron-ts run --ranks 2 examples/04-own-schedule.ts
import {
  DistributedDataParallel,
  GPTModel,
  initializeModelParallel,
  MicrobatchSampler,
  oneForwardOneBackward,
  runSchedule,
  type Schedule,
  tensor,
} from '@megatron-ts/core';
import { drawSchedule, scheduleFromCompute } from '@megatron-ts/core/schedule';

await using ctx = await initializeModelParallel({ pipelineModelParallelSize: 2, seed: 7 });
const isMain = ctx.world.rank === 0;

// One list per rank; F3 is the forward of microbatch 3, B3 its backward. Sends and receives are added, and deadlocks refused, here.
const eager = scheduleFromCompute('eager', ['F0 F1 F2 B0 F3 B1 B2 B3', 'F0 B0 F1 B1 F2 B2 F3 B3']);
const reference = oneForwardOneBackward({ numStages: 2, numMicrobatches: 4 });
if (isMain) console.log(`${drawSchedule(eager)}\n\n${drawSchedule(reference)}\n`);

const config = { vocabSize: 256, maxSequenceLength: 32, hiddenSize: 32, numLayers: 2, numAttentionHeads: 2 };
const gpt = new GPTModel({ ...config, ctx }).initialize(ctx);
const model = new DistributedDataParallel(gpt, { dpGroup: ctx.dp });
const tokens = new TextEncoder().encode('a schedule is data. '.repeat(50));
const sampler = new MicrobatchSampler({
  tokens,
  sequenceLength: 32,
  globalBatchSize: 8,
  microbatchSize: 2,
  dataParallelSize: ctx.dp.size,
  dataParallelRank: ctx.dp.rank,
  seed: 7,
});

/** Loss and a gradient of one step under `schedule`. */
function run(schedule: Schedule): { readonly loss: number; readonly gradient: Float32Array } {
  return ctx.step(0, () => {
    const microbatches = sampler
      .step(0)
      .map(({ tokens, targets, shape }) => ({ input: tensor(tokens, shape), targets: tensor(targets, shape) }));
    const { loss } = runSchedule({
      ctx,
      schedule,
      chunks: [model],
      microbatches,
      lossOf: (output, { targets }) => gpt.lossOf(output, targets),
    });
    const qkv = gpt.parameters().find(({ name }) => name.endsWith('qkv.weight'));
    const gradient = qkv?.grad?.toArray() ?? new Float32Array();
    gpt.zeroGrad();
    return { loss, gradient };
  });
}

const [own, usual] = [run(eager), run(reference)];
const isEqual = own.loss === usual.loss && own.gradient.every((value, i) => value === usual.gradient[i]);
if (isMain) console.log(`loss ${own.loss.toFixed(5)}; both schedules give ${isEqual ? 'the same bits' : 'other bits: please report it'}`);
if (!isEqual) process.exitCode = 1;
