import { finalizeGrads, initializeModelParallel } from '@megatron-ts/process-groups';
import { evaluate, tensor } from '@megatron-ts/tensor';
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
  readonly sentenceTargets?: number[];
  readonly sentenceLogits?: number[];
}

const because = 'PyTorch computed in f64 and the engine in f32';

describe('a BERT on a single rank', () => {
  it.each(['bert', 'bert-binary'])(
    '%s has the losses of PyTorch and the gradients of all weights, with padding and tokens that are not masked',
    async (file) => {
      const { seed, batch, config, losses, sentenceTargets, sentenceLogits = [], ...data } = readGolden<Golden>(`${file}.json`);
      const gradients = readTensors(`${file}-gradients.safetensors`);
      await using ctx = await initializeModelParallel({ seed });
      const model = new BertModel({ ctx, ...config }).initialize(ctx);
      const rows = (name: keyof typeof data) => tensor(Int32Array.from(data[name]), [config.maxSequenceLength, batch]);
      evaluate(() => {
        const found = model.outputs(rows('tokens'), { tokenTypes: rows('tokenTypes'), segments: rows('segments') }).sentenceLogits; // [b, 2]
        expectClose([...(found?.toArray() ?? [])], sentenceLogits, { rtol: 1e-5, because });
      });
      ctx.step(0, () => {
        const isBoth = sentenceTargets === undefined ? {} : { sentenceTargets: tensor(Int32Array.from(sentenceTargets), [batch]) };
        const targets = rows('targets');
        const own = model.call(rows('tokens'), { tokenTypes: rows('tokenTypes'), segments: rows('segments'), targets, ...isBoth }); // [s, b]
        expectClose(own.toArray() as Float32Array, losses, { rtol: 3e-6, because });
        const { sum, count } = model.lossOf(own, targets);
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
    },
  );
});
