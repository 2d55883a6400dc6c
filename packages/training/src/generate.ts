import { philox } from '@megatron-ts/data';
import { broadcast, exchange, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, empty, evaluate, tensor } from '@megatron-ts/tensor';
import type { GPTModel } from '@megatron-ts/transformer';

/** How text is continued. */
export interface GenerateOptions {
  /** The mesh that holds the model; all its ranks call with the same options. */
  readonly ctx: ParallelContext;
  /** This rank's part of the model. */
  readonly model: GPTModel;
  /** Tokens to continue; at least one. */
  readonly prompt: Iterable<number>;
  /** Number of tokens to add. */
  readonly numTokens: number;
  /** Most tokens the model sees at once. */
  readonly contextLength: number;
  /** Divides the logits: below 1 the likely tokens are preferred; 0 takes the likeliest. 0.8 by default. */
  readonly temperature?: number;
  /** Seed of the draws. */
  readonly seed?: number;
}

/**
 * Continues `prompt`; every rank gets the whole text. Each stage hands its hidden states on, the last draws the token and tells the
 * others.
 */
export function generate({ ctx, model, prompt, numTokens, contextLength, temperature = 0.8, seed = 0 }: GenerateOptions): Int32Array {
  const text = [...prompt];
  for (let n = 0; n < numTokens; n++) {
    const window = Int32Array.from(text.slice(-contextLength));
    text.push(evaluate(() => nextToken({ ctx, model, window, temperature, draw: philox([n, 0, 0, 0], [seed >>> 0, 0])[0] / 2 ** 32 })));
  }
  return Int32Array.from(text);
}

interface TokenOptions {
  readonly ctx: ParallelContext;
  readonly model: GPTModel;
  readonly window: Int32Array;
  readonly temperature: number;
  /** Uniform in [0, 1), the same on every rank. */
  readonly draw: number;
}

function nextToken({ ctx, model, window, temperature, draw }: TokenOptions): number {
  const { pp } = ctx;
  const input = ctx.isFirstStage ? tensor(window, [window.length, 1]) : receiveHidden(ctx, model.activationShape([window.length, 1]));
  const chosen = tensor(Int32Array.of(0), [1]);
  if (ctx.isLastStage) {
    const logits = model.logits(input).toArray(); // [s, 1, v]
    const vocabSize = logits.length / window.length;
    const token = pick(logits.subarray(logits.length - vocabSize), { temperature, draw });
    if (pp.size === 1) return token;
    return broadcast(tensor(Int32Array.of(token), [1]), { group: pp, root: pp.rank, label: 'generate' })
      .wait()
      .item();
  }
  const hidden: AnyTensor = model.call(input); // [s, 1, h]
  exchange({ group: pp, sends: [{ peer: pp.rank + 1, tensor: hidden }], label: 'generate' }).wait();
  return broadcast(chosen, { group: pp, root: pp.size - 1, label: 'generate' })
    .wait()
    .item();
}

function receiveHidden({ pp }: ParallelContext, shape: readonly number[]): AnyTensor {
  const hidden = empty(shape);
  exchange({ group: pp, receives: [{ peer: pp.rank - 1, tensor: hidden }], label: 'generate' }).wait();
  return hidden;
}

/** Draws from softmax(logits / temperature). */
function pick(logits: Float32Array, { temperature, draw }: { readonly temperature: number; readonly draw: number }): number {
  const largest = logits.reduce((best, value, token) => (value > (logits[best] ?? 0) ? token : best), 0);
  if (temperature === 0) return largest;
  const weights = Float64Array.from(logits, (value) => Math.exp((value - (logits[largest] ?? 0)) / temperature));
  let left = draw * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [token, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return token;
  }
  return largest;
}
