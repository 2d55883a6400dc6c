// Our side of part 7: one of the ranks that train a small GPT together on one device, or one alone. Rank 0 prints what came of it.
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import {
  Adam,
  type AnyTensor,
  deviceStats,
  DistributedDataParallel,
  gatherWhole,
  GPTModel,
  initializeModelParallel,
  oneForwardOneBackward,
  type ParallelContext,
  runSchedule,
  tensor,
} from '@megatron-ts/core';
import { curveModel, tinyModel } from './models.ts';

/** Ranks that share one device meet over the loopback interface, which NCCL otherwise does not choose, and have no other way. */
const settings = { NCCL_SOCKET_IFNAME: 'lo', NCCL_IB_DISABLE: '1', NCCL_NVLS_ENABLE: '0' };
for (const [name, value] of Object.entries(settings)) process.env[name] ??= value;

const [tensorModelParallelSize = 1, pipelineModelParallelSize = 1, isTiny = 0] = process.argv.slice(2, 5).map(Number);
const file = process.argv[5] ?? '';
const { hidden, layers, heads, vocab, seq, batch } = isTiny === 1 ? tinyModel : curveModel;
/** Microbatches of a step, over all data-parallel ranks. */
const microbatches = 4;
const steps = isTiny === 1 ? 3 : 20;

/** Tokens of one microbatch, the same whichever rank takes it: a linear congruential sequence. */
function textOf(number: number): Int32Array {
  let state = number + 1;
  return Int32Array.from({ length: (seq + 1) * batch }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % vocab;
  });
}

function trained(ctx: ParallelContext) {
  const sizes = { vocabSize: vocab, maxSequenceLength: seq, hiddenSize: hidden, numLayers: layers, numAttentionHeads: heads };
  const gpt = new GPTModel({ ctx, ...sizes }).initialize(ctx);
  const model = new DistributedDataParallel(gpt, { dpGroup: ctx.dp });
  const optimizer = new Adam(model.parameters(), { lr: 1e-3, eps: 1e-5, clipGradNorm: 1 });
  const own = microbatches / ctx.dp.size;
  const schedule = oneForwardOneBackward({ numStages: ctx.pp.size, numMicrobatches: own });
  const [losses, gradNorms, ms]: [number[], number[], number[]] = [[], [], []];
  const shape = [seq, batch];
  for (let n = 0; n < steps; n++) {
    const started = performance.now();
    ctx.step(n, () => {
      const texts = Array.from({ length: own }, (_, i) => textOf(n * microbatches + ctx.dp.rank * own + i)); // [s + 1, b] each
      const { loss } = runSchedule({
        ctx,
        schedule,
        chunks: [model],
        microbatches: texts.map((text) => ({
          input: tensor(text.subarray(0, seq * batch), shape),
          targets: tensor(text.subarray(batch), shape),
        })),
        forwardStep: (_, input: AnyTensor, { targets }: { readonly targets: AnyTensor }) => model.call(input, targets),
        lossOf: (output, { targets }) => gpt.lossOf(output, targets),
      });
      losses.push(loss);
      gradNorms.push(optimizer.step().gradNorm);
    });
    ms.push(performance.now() - started);
  }
  return { gpt, losses, gradNorms, ms };
}

/** The whole model's weights, f32 one after the other by name, in `file` of rank 0. */
function writeWeights(ctx: ParallelContext, gpt: GPTModel): string {
  const values = new Map<string, Float32Array>();
  const sink = {
    begin: (forms: readonly { readonly name: string }[]) => forms.map(({ name }) => name).sort(),
    take: ({ name }: { readonly name: string }, t: AnyTensor) => void values.set(name, Float32Array.from(t.toArray() as Float32Array)),
    end: () => undefined,
    abort: () => undefined,
  };
  gatherWhole(gpt.namedParameters(), { ctx, sink });
  const bytes = Buffer.concat([...values.values()].map(({ buffer }) => Buffer.from(buffer)));
  if (ctx.world.rank === 0) writeFileSync(file, bytes);
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}

try {
  await using ctx = await initializeModelParallel({ seed: 1234, tensorModelParallelSize, pipelineModelParallelSize });
  const { gpt, ...curves } = trained(ctx);
  const weights = writeWeights(ctx, gpt);
  const { reads = 0, synchronizations = 0, peakBytes = 0 } = deviceStats() ?? {};
  const row = { ranks: ctx.world.size, device: ctx.device, hostId: process.env['NCCL_HOSTID'], ...curves, weights };
  if (ctx.world.rank === 0) console.log(JSON.stringify({ ...row, reads, synchronizations, peakBytes }));
} catch (cause) {
  console.log(JSON.stringify({ error: (cause as Error).message }));
  process.exitCode = 1;
}
