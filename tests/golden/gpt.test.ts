import { Adam } from '@megatron-ts/optimizer';
import { finalizeGrads, initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { type Tensor, tensor } from '@megatron-ts/tensor';
import { expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { GPTModel } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readGolden, readTensors } from './read-golden.ts';

interface Curve {
  readonly losses: number[];
  readonly gradNorms: number[];
}

interface Config {
  readonly seed: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly numAttentionHeads: number;
  readonly vocabSize: number;
  readonly maxSequenceLength: number;
  readonly initStd: number;
  readonly batch: number;
  readonly lr: number;
  readonly betas: [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  readonly clipGradNorm: number;
}

const because = 'PyTorch computed in f64 and the engine in f32';
const golden = readGolden<{ config: Config; noClip: Curve; clip: Curve; tokens: number[] }>('gpt-curves.json');
const { seed, batch, lr, betas, eps, weightDecay, clipGradNorm, ...sizes } = golden.config;
const seq = sizes.maxSequenceLength;
const gradientFiles = ['ends', ...Array.from({ length: sizes.numLayers }, (_, layer) => `layer-${layer}`)].map(
  (part) => `gpt-gradients-${part}.safetensors`,
);

/** Tokens and the ones that follow them, `[s, b]` each. */
function batchOf(step: number): { tokens: Tensor; targets: Tensor } {
  const start = step * (seq + 1) * batch;
  const rows = (first: number) =>
    tensor(Int32Array.from(golden.tokens.slice(start + first * batch, start + (first + seq) * batch)), [seq, batch]);
  return { tokens: rows(0), targets: rows(1) };
}

/** Mean loss of a step's tokens, with the gradients of all parameters finished. */
function lossAndGradients(model: GPTModel, ctx: ParallelContext, step: number): number {
  const { tokens, targets } = batchOf(step);
  const { sum, count } = model.lossOf(model.call(tokens, targets));
  const loss = sum.div(count);
  loss.backward();
  finalizeGrads(model.parameters(), { ctx });
  return loss.item();
}

describe('a GPT on a single rank', () => {
  let ctx: ParallelContext;
  beforeAll(async () => {
    ctx = await initializeModelParallel({ seed });
  });
  afterAll(async () => {
    await ctx.destroy();
  });

  it('has the parameters of the PyTorch model, by name and shape', () => {
    const model = new GPTModel({ ctx, ...sizes }).initialize(ctx);
    const own = model.parameters().filter(({ tiedTo }) => tiedTo === undefined);
    const expected = gradientFiles.flatMap((file) => [...readTensors(file)].map(([name, { shape }]) => [name, shape]));
    expect(Object.fromEntries(own.map(({ name, shape }) => [name, shape]))).toEqual(Object.fromEntries(expected));
    model.dispose();
  });

  it('has the gradients of PyTorch on the weights it draws', () => {
    const model = new GPTModel({ ctx, ...sizes }).initialize(ctx);
    const loss = ctx.step(0, () => lossAndGradients(model, ctx, 0));
    expectClose([loss], golden.noClip.losses.slice(0, 1), { rtol: 1e-6, because });
    const parameters = model.namedParameters();
    for (const [name, { values }] of gradientFiles.flatMap((file) => [...readTensors(file)])) {
      const gradient = parameters.get(name)?.grad?.toArray() as Float32Array;
      if (!name.endsWith('qkv.bias')) expectRelativeL2(gradient, values, { limit: 1e-5, because });
      // The bias of the keys has no influence: its gradient is rounding alone, and is compared absolutely.
      else expectClose(gradient, values, { atol: 1e-5 * Math.max(...values.map(Math.abs)), because });
    }
    model.dispose();
  });

  it.each([
    ['without clipping', golden.noClip, undefined],
    ['with clipping', golden.clip, clipGradNorm],
  ] as const)('follows the curve of PyTorch for 20 steps %s', (_, curve, clip) => {
    const model = new GPTModel({ ctx, ...sizes }).initialize(ctx);
    const optimizer = new Adam(model.parameters(), { lr, betas, eps, weightDecay, ...(clip === undefined ? {} : { clipGradNorm: clip }) });
    const [losses, norms]: [number[], number[]] = [[], []];
    curve.losses.forEach((_loss, n) => {
      const { loss, gradNorm } = ctx.step(n, () => {
        const own = lossAndGradients(model, ctx, n);
        return { loss: own, gradNorm: optimizer.step().gradNorm };
      });
      losses.push(loss);
      norms.push(gradNorm);
    });
    expectClose(losses, curve.losses, { rtol: 1e-5, because });
    expectClose(norms, curve.gradNorms, { rtol: 1e-5, because });
    model.dispose();
  });
});
