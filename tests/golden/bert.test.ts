import { finalizeGrads, initializeModelParallel } from '@megatron-ts/process-groups';
import { tensor } from '@megatron-ts/tensor';
import { expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { type BertConfig, BertModel } from '@megatron-ts/transformer';
import { describe, expect, it } from 'vitest';
import { readGolden, readTensors } from './read-golden.ts';

interface Golden {
  readonly seed: number;
  readonly batch: number;
  readonly config: BertConfig;
  readonly tokens: number[];
  readonly tokenTypes: number[];
  readonly segments: number[];
  readonly targets: number[];
  readonly losses: number[];
}

const because = 'PyTorch computed in f64 and the engine in f32';

describe('a BERT on a single rank', () => {
  it('has the losses of PyTorch and the gradients of all weights, with padding and tokens that are not masked', async () => {
    const { seed, batch, config, losses, ...data } = readGolden<Golden>('bert.json');
    const gradients = readTensors('bert-gradients.safetensors');
    await using ctx = await initializeModelParallel({ seed });
    const model = new BertModel({ ctx, ...config }).initialize(ctx);
    const rows = (name: keyof typeof data) => tensor(Int32Array.from(data[name]), [config.maxSequenceLength, batch]);
    ctx.step(0, () => {
      const inputs = { tokenTypes: rows('tokenTypes'), segments: rows('segments') };
      const logits = model.call(rows('tokens'), inputs); // [s, b, v]
      const own = model.losses(logits, rows('targets')); // [s, b]
      expectClose(own.toArray() as Float32Array, losses, { rtol: 3e-6, because });
      const { sum, count } = model.lossOf(logits, rows('targets'));
      expect(count).toBe(data.targets.filter((target) => target >= 0).length);
      sum.div(count).backward();
      finalizeGrads(model.parameters(), { ctx });
    });
    const parameters = model.namedParameters();
    expect([...parameters.keys()].filter((name) => name !== 'head.weight').sort()).toEqual([...gradients.keys()].sort());
    for (const [name, { values }] of gradients) {
      const gradient = parameters.get(name)?.grad?.toArray() as Float32Array;
      if (!name.endsWith('qkv.bias')) expectRelativeL2(gradient, values, { limit: 1e-5, because });
      // The bias of the keys has no influence: its gradient is rounding alone, and is compared absolutely.
      else expectClose(gradient, values, { atol: 1e-5 * Math.max(...values.map(Math.abs)), because });
    }
    model.dispose();
  });
});
