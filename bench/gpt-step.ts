import {
  Adam,
  DistributedDataParallel,
  GPTModel,
  initializeModelParallel,
  mean,
  memoryStats,
  type ParallelContext,
  tensor,
} from '@megatron-ts/core';
import type { GptSizes } from './gpt-sizes.ts';

/** Ranks that train a GPT, or one. */
export interface GptTraining {
  /** The mesh. */
  readonly ctx: ParallelContext;
  /** Runs the next step. @returns the loss of this rank's tokens before its update */
  step(): number;
  /** Native bytes of live tensors. */
  liveBytes(): number;
}

/** How a GPT is trained. */
export interface GptTrainingOptions {
  /** What products are computed in; f32 by default. */
  readonly computeDType?: 'f32' | 'bf16';
  /** Ranks that share each layer; the others share the batch. 1 by default. */
  readonly tensorModelParallelSize?: number;
}

/** Tokens of a step that both sides can compute: a linear congruential sequence. */
function tokensOf(step: number, { vocab, seq, batch }: GptSizes): Int32Array {
  let state = step + 1;
  return Int32Array.from({ length: (seq + 1) * batch }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % vocab;
  });
}

/** A GPT with AdamW, clipping and a tied head, as `peers/gpt_model.py` has it. Data-parallel ranks share the batch. */
export async function gptTraining(whole: GptSizes, options: GptTrainingOptions = {}): Promise<GptTraining> {
  const { computeDType = 'f32', tensorModelParallelSize = 1 } = options;
  const ctx = await initializeModelParallel({ seed: 1234, tensorModelParallelSize });
  const { dp } = ctx;
  const sizes = { ...whole, batch: whole.batch / dp.size };
  const gpt = gptOf(ctx, sizes, computeDType);
  const model = dp.size === 1 ? gpt : new DistributedDataParallel(gpt, { dpGroup: dp, gradReduction: 'mean' });
  const settings = { lr: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1, clipGradNorm: 1, noDecay: () => false } as const;
  const optimizer = new Adam(model.parameters(), settings);
  const data = Array.from({ length: 4 }, (_, i) => tokensOf(4 * dp.rank + i, sizes)); // [s + 1, b] each
  let n = 0;
  const step = () =>
    ctx.step(n, () => {
      const text = data[n++ % data.length] as Int32Array;
      const shape = [sizes.seq, sizes.batch];
      const tokens = tensor(text.subarray(0, sizes.seq * sizes.batch), shape);
      const targets = tensor(text.subarray(sizes.batch), shape);
      const loss = mean(model.call(tokens, targets));
      loss.backward();
      optimizer.step();
      return loss.item();
    });
  return { ctx, step, liveBytes: () => memoryStats().liveBytes };
}

function gptOf(ctx: ParallelContext, { hidden, layers, heads, vocab, seq }: GptSizes, computeDType: 'f32' | 'bf16'): GPTModel {
  return new GPTModel({
    ctx,
    vocabSize: vocab,
    maxSequenceLength: seq,
    hiddenSize: hidden,
    numLayers: layers,
    numAttentionHeads: heads,
    computeDType,
  }).initialize(ctx);
}
