import { spawn } from 'node:child_process';
import {
  type AnyTensor,
  DistributedDataParallel,
  filled,
  GPTModel,
  initializeModelParallel,
  MicrobatchSampler,
  oneForwardOneBackward,
  ParallelMLP,
  runSchedule,
  tensor,
} from '@megatron-ts/core';
import { copyInto } from '@megatron-ts/tensor';

/** What a rank alone saw. */
export interface LoneRank {
  /** Sentences of errors. */
  readonly beforeInitialize: string;
  readonly indivisibleBatch: string;
  /** Steps begun and ended in a loop that never yields, until SIGTERM came. */
  readonly begun: number;
  readonly ended: number;
  readonly stopRequested: boolean;
}

const model = { vocabSize: 8, maxSequenceLength: 4, hiddenSize: 8, numLayers: 1, numAttentionHeads: 2 };

function sentenceOf(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing was refused';
}

/** Has the system send `count` SIGTERMs to this process while it computes. */
function askToStop(count: number): void {
  const signals = Array.from({ length: count }, () => `sleep 0.2; kill -TERM ${process.pid}`).join('; ');
  spawn('sh', ['-c', signals], { stdio: 'ignore' }).unref();
}

/** A world of one: what it refuses and warns of, and how it stops. The second process of the test waits for a second signal. */
export async function beAlone(): Promise<LoneRank> {
  const isObstinate = process.env['RANK'] === '1';
  Object.assign(process.env, { RANK: '0', WORLD_SIZE: '1', LOCAL_RANK: '0', LOCAL_WORLD_SIZE: '1' });
  await using ctx = await initializeModelParallel();
  const beforeInitialize = sentenceOf(() => new ParallelMLP({ hiddenSize: 4, tpGroup: ctx.tp }).call(filled([1, 1, 4], {})));
  const batch = { sequenceLength: 4, globalBatchSize: 16, microbatchSize: 3, dataParallelSize: 1, dataParallelRank: 0, seed: 1 };
  const indivisibleBatch = sentenceOf(() => new MicrobatchSampler({ tokens: new Uint8Array(64), ...batch }));

  const gpt = new GPTModel({ ...model, ctx }).initialize(ctx);
  const [weight] = gpt.parameters();
  ctx.step(6, () => copyInto(weight as AnyTensor, filled(weight?.shape ?? [], { value: Number.NaN })));
  const chunk = new DistributedDataParallel(gpt, { dpGroup: ctx.dp });
  const step = (n: number) =>
    ctx.step(n, () => {
      runSchedule({
        ctx,
        schedule: oneForwardOneBackward({ numStages: 1, numMicrobatches: 1 }),
        chunks: [chunk],
        microbatches: [{ input: tensor(new Int32Array(8), [4, 2]), targets: tensor(new Int32Array(8), [4, 2]) }],
        lossOf: (output, { targets }) => gpt.lossOf(output, targets),
      });
      chunk.zeroGrad();
    });
  step(7);

  let [begun, ended] = [0, 0];
  askToStop(isObstinate ? 2 : 1);
  while (isObstinate || !ctx.stopRequested) {
    begun++;
    ctx.step(begun, () => void filled([64, 64], {}).sum().item());
    ended++;
  }
  return { beforeInitialize, indivisibleBatch, begun, ended, stopRequested: ctx.stopRequested };
}
