import { finalizeGrads, initializeModelParallel } from '@megatron-ts/process-groups';
import { tensor } from '@megatron-ts/tensor';
import { expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { type GPTConfig, GPTModel } from '@megatron-ts/transformer';
import { describe, expect, it } from 'vitest';
import { readGolden, readTensors } from './read-golden.ts';

interface Golden {
  readonly seed: number;
  readonly batch: number;
  readonly config: GPTConfig;
  readonly tokens: number[];
  readonly targets: number[];
  readonly segments: number[];
  readonly positions: number[];
  readonly losses: number[];
}

const because = 'PyTorch computed in f64 and the engine in f32';

describe('a GPT with turned heads on a single rank', () => {
  it.each([
    ['gpt-neighbours', 'pairs of neighbours, normed heads, packed documents with positions of their own'],
    ['gpt-partial', 'half of the features turned, biases and layer norms'],
    ['gpt-partial-neighbours', 'half of the features turned by neighbours, slower, normed heads with one key and value'],
  ])('%s has the losses of PyTorch and the gradients of all weights: %s', async (file) => {
    const { seed, batch, config, losses, ...data } = readGolden<Golden>(`${file}.json`);
    const gradients = readTensors(`${file}-gradients.safetensors`);
    await using ctx = await initializeModelParallel({ seed });
    const model = new GPTModel({ ctx, ...config }).initialize(ctx);
    const rows = (name: keyof typeof data) => tensor(Int32Array.from(data[name]), [config.maxSequenceLength, batch]);
    ctx.step(0, () => {
      const own = model.call(rows('tokens'), rows('targets'), { segments: rows('segments'), positions: rows('positions') }); // [s, b]
      expectClose(own.toArray() as Float32Array, losses, { rtol: 3e-6, because });
      const { sum, count } = model.lossOf(own);
      sum.div(count).backward();
      finalizeGrads(model.parameters(), { ctx });
    });
    const parameters = new Map([...model.namedParameters()].filter(([, { tiedTo }]) => tiedTo === undefined));
    expect([...parameters.keys()].sort()).toEqual([...gradients.keys()].sort());
    for (const [name, { shape, values }] of gradients) {
      expect(parameters.get(name)?.shape).toEqual(shape);
      const gradient = parameters.get(name)?.grad?.toArray() as Float32Array;
      // Bias of the keys: a turned one is seen by softmax, one that is not turned is not; compared by the largest of all three.
      if (name.endsWith('qkv.bias')) expectClose(gradient, values, { atol: 1e-5 * Math.max(...values.map(Math.abs)), because });
      else expectRelativeL2(gradient, values, { limit: 1e-5, because });
    }
    model.dispose();
  });
});
