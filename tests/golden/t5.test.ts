import { finalizeGrads, initializeModelParallel } from '@megatron-ts/process-groups';
import { tensor } from '@megatron-ts/tensor';
import { expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { type T5Config, T5Model } from '@megatron-ts/transformer';
import { describe, expect, it } from 'vitest';
import { readGolden, readTensors } from './read-golden.ts';

interface Golden {
  readonly seed: number;
  readonly batch: number;
  readonly config: T5Config;
  readonly tokens: number[];
  readonly decoderTokens: number[];
  readonly segments: number[];
  readonly decoderSegments: number[];
  readonly targets: number[];
  readonly losses: number[];
}

const because = 'PyTorch computed in f64 and the engine in f32';

describe('a T5 on a single rank', () => {
  it.each(['t5', 't5-gated'])('%s has the losses of PyTorch and the gradients of all weights, packed and padded', async (file) => {
    const { seed, batch, config, losses, ...data } = readGolden<Golden>(`${file}.json`);
    const gradients = readTensors(`${file}-gradients.safetensors`);
    await using ctx = await initializeModelParallel({ seed });
    const model = new T5Model({ ctx, ...config }).initialize(ctx);
    const rows = (name: keyof typeof data) => tensor(Int32Array.from(data[name]), [data[name].length / batch, batch]);
    ctx.step(0, () => {
      const told = { segments: rows('segments'), decoderSegments: rows('decoderSegments') };
      const logits = model.call(rows('tokens'), rows('decoderTokens'), told); // [sd, b, v]
      const own = model.losses(logits, rows('targets')); // [sd, b]
      expectClose(own.toArray() as Float32Array, losses, { rtol: 1e-5, because });
      const { sum, count } = model.lossOf(logits, rows('targets'));
      expect(count).toBe(data.targets.filter((target) => target >= 0).length);
      sum.div(count).backward();
      finalizeGrads(model.parameters(), { ctx });
    });
    const parameters = new Map([...model.namedParameters()].filter(([, { tiedTo }]) => tiedTo === undefined));
    expect([...parameters.keys()].sort()).toEqual([...gradients.keys()].sort());
    for (const [name, { values }] of gradients)
      expectRelativeL2(parameters.get(name)?.grad?.toArray() as Float32Array, values, { limit: 2e-5, because });
    model.dispose();
  });
});
