import { finalizeGrads, initializeModelParallel } from '@megatron-ts/process-groups';
import { tensor } from '@megatron-ts/tensor';
import { expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { type LlamaConfig, LlamaModel, RotaryAngles, rotaryFrequencies, type RotaryOptions } from '@megatron-ts/transformer';
import { describe, expect, it } from 'vitest';
import { readGolden, readTensors } from './read-golden.ts';

interface Golden {
  readonly seed: number;
  readonly batch: number;
  readonly config: LlamaConfig;
  readonly tokens: number[];
  readonly losses: number[];
}

interface FrequencyCase {
  readonly dim: number;
  readonly options: RotaryOptions;
  readonly frequencies: number[];
}

const because = 'PyTorch computed in f64 and the engine in f32';

describe('a Llama on a single rank', () => {
  it('has the losses of PyTorch and the gradients of all weights, on the weights it draws', async () => {
    const { seed, batch, config, tokens, losses } = readGolden<Golden>('llama.json');
    const [seq, gradients] = [config.maxSequenceLength, readTensors('llama-gradients.safetensors')];
    await using ctx = await initializeModelParallel({ seed });
    const model = new LlamaModel({ ctx, ...config }).initialize(ctx);
    const rows = (first: number) => tensor(Int32Array.from(tokens.slice(first * batch, (first + seq) * batch)), [seq, batch]);
    ctx.step(0, () => {
      const own = model.call(rows(0), rows(1)); // [s, b]
      expectClose(own.toArray() as Float32Array, losses, { rtol: 2e-6, because });
      const { sum, count } = model.lossOf(own);
      sum.div(count).backward();
      finalizeGrads(model.parameters(), { ctx });
    });
    const parameters = model.namedParameters();
    expect([...parameters.keys()].sort()).toEqual([...gradients.keys()].sort());
    for (const [name, { shape, values }] of gradients) {
      expect(parameters.get(name)?.shape).toEqual(shape);
      expectRelativeL2(parameters.get(name)?.grad?.toArray() as Float32Array, values, { limit: 1e-5, because });
    }
    model.dispose();
  });
});

describe('angles of rotations', () => {
  it.each(readGolden<FrequencyCase[]>('rotary-frequencies.json'))('of $dim features, $options', ({ dim, options, frequencies }) => {
    expectClose(rotaryFrequencies(dim, options), frequencies, { rtol: 1e-14, because: 'the same formulae in f64, in another order' });
  });

  it('are refused in one sentence where they make no sense', () => {
    const build = (options: RotaryOptions) => () => new RotaryAngles(8, options);
    expect(build({ base: 0 })).toThrow('rotary: base is 0. Use a number above 1, such as 10000.');
    expect(build({ fraction: 0.125 })).toThrow(
      'rotary: fraction 0.125 of 8 features is 1. Choose an even number of features, from 2 to 8.',
    );
    expect(build({ scaling: { kind: 'linear', factor: 0.5 } })).toThrow('rotary: scaling.factor is 0.5. Use a number of at least 1.');
  });
});
