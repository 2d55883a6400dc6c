import { Adam, GPTModel, initializeModelParallel, mean, memoryStats, type ParallelContext, tensor } from '@megatron-ts/core';
import type { GptSizes } from './gpt-sizes.ts';

/** One rank that trains a GPT. */
export interface GptTraining {
  /** The world of one. */
  readonly ctx: ParallelContext;
  /** Runs the next step. @returns the loss before its update */
  step(): number;
  /** Native bytes of live tensors. */
  liveBytes(): number;
}

/** Tokens of a step that both sides can compute: a linear congruential sequence. */
function tokensOf(step: number, { vocab, seq, batch }: GptSizes): Int32Array {
  let state = step + 1;
  return Int32Array.from({ length: (seq + 1) * batch }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % vocab;
  });
}

/** A GPT with AdamW, clipping and a tied head, as `peers/gpt_torch.py` has it. */
export async function gptTraining(sizes: GptSizes): Promise<GptTraining> {
  const { hidden, layers, heads, vocab, seq, batch } = sizes;
  const ctx = await initializeModelParallel({ seed: 1234 });
  const model = new GPTModel({
    ctx,
    vocabSize: vocab,
    maxSequenceLength: seq,
    hiddenSize: hidden,
    numLayers: layers,
    numAttentionHeads: heads,
  }).initialize(ctx);
  const settings = { lr: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1, clipGradNorm: 1, noDecay: () => false } as const;
  const optimizer = new Adam(model.parameters(), settings);
  const data = Array.from({ length: 4 }, (_, i) => tokensOf(i, sizes)); // [s + 1, b] each
  let n = 0;
  const step = () =>
    ctx.step(n, () => {
      const text = data[n++ % data.length] as Int32Array;
      const tokens = tensor(text.subarray(0, seq * batch), [seq, batch]);
      const targets = tensor(text.subarray(batch), [seq, batch]);
      const loss = mean(model.call(tokens, targets));
      loss.backward();
      optimizer.step();
      return loss.item();
    });
  return { ctx, step, liveBytes: () => memoryStats().liveBytes };
}
