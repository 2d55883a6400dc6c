import {
  add,
  ambient,
  type AnyTensor,
  backward,
  biasDropoutAdd,
  dropout,
  type DropoutOptions,
  evaluate,
  Module,
  mul,
  Parameter,
  philoxKey,
  scope,
  selfAttention,
  slice,
  type Tensor,
  tensor,
  withMicrobatch,
} from '@megatron-ts/tensor';
import { expectBitwise, expectRelativeL2 } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { factorTwin } from './dropout-twin.ts';

const [seq, batch, width] = [5, 3, 70];
const shape = [seq, batch, width];
const key = [11, 12] as const;
const values = (x: AnyTensor | undefined): Float32Array => x?.toArray() as Float32Array;
const wave = (extents: readonly number[], phase: number): Float32Array =>
  Float32Array.from({ length: extents.reduce((product, extent) => product * extent, 1) }, (_, i) => Math.sin(1.3 * i + phase));
const leaf = (extents: readonly number[], phase: number): Tensor => tensor(wave(extents, phase), extents, { requiresGrad: true });
const ones = (extents: readonly number[] = shape): Tensor => tensor(wave(extents, 0).fill(1), extents);

/** The factors of a dropout. */
function factors(options: DropoutOptions, extents = shape): Float32Array {
  return scope(() => values(dropout(ones(extents), options)));
}

/** What `ctx.step` sets. */
function step<T>(n: number, f: () => T, seed = 7): T {
  const { step: before } = ambient;
  Object.assign(ambient, { step: n, seed });
  try {
    return f();
  } finally {
    Object.assign(ambient, { step: before, seed: undefined });
  }
}

describe('dropout', () => {
  it('draws each element by its sample, token and channel in the whole model', () => {
    const twin = Float32Array.from({ length: seq * batch * width }, (_, i) => {
      const [element, sample, row] = [i % width, Math.floor(i / width) % batch, Math.floor(i / width / batch)];
      return factorTwin(0.3, key, { element, row: row + 4, sample: sample + 9 });
    });
    expectBitwise(factors({ p: 0.3, key, firstSample: 9, firstToken: 4 }), twin);
  });

  it('draws of a part of the tokens or samples what the whole does', () => {
    scope(() => {
      const whole = dropout(ones(), { p: 0.5, key });
      const tokens = dropout(ones([2, batch, width]), { p: 0.5, key, firstToken: 3 });
      expectBitwise(values(tokens), values(slice(whole, 0, { start: 3, end: 5 })));
      const samples = dropout(ones([seq, 1, width]), { p: 0.5, key, firstSample: 2 });
      expectBitwise(values(samples), values(slice(whole, 1, { start: 2, end: 3 })));
    });
  });

  it.each([0.1, 0.5, 0.9])('leaves out the share %d, and the mean stays', (p) => {
    const drawn = factors({ p, key }, [100, 10, 100]);
    const deviation = Math.sqrt(p * (1 - p) * drawn.length);
    const kept = drawn.filter((factor) => factor !== 0);
    expect(new Set(kept)).toEqual(new Set([Math.fround(1 / (1 - p))]));
    expect(Math.abs(kept.length - (1 - p) * drawn.length)).toBeLessThan(5 * deviation);
    expect(Math.abs(kept.length / (1 - p) - drawn.length)).toBeLessThan((5 * deviation) / (1 - p));
  });

  it('has the gradient that its factors say', () => {
    scope(() => {
      const x = leaf(shape, 1);
      const y = dropout(x, { p: 0.4, key });
      const [grad, mask] = [tensor(wave(shape, 3), shape), tensor(factors({ p: 0.4, key }), shape)];
      expectBitwise(values(y), values(mul(x, mask)));
      backward([y], [grad]);
      expectBitwise(values(x.grad), values(mul(grad, mask)));
    });
  });

  it('fused with bias and residual has the bits of the plain operations, and a close gradient of the bias', () => {
    scope(() => {
      const mask = tensor(factors({ p: 0.4, key }), shape);
      const run = (f: (x: Tensor, bias: Tensor, residual: Tensor) => AnyTensor) => {
        const leaves = [leaf(shape, 1), leaf([width], 2), leaf(shape, 3)] as const;
        const y = f(...leaves);
        backward([y], [tensor(wave(shape, 4), shape)]);
        return [y, ...leaves.map(({ grad }) => grad)].map(values);
      };
      const fused = run((x, bias, residual) => biasDropoutAdd(x, bias, residual, { p: 0.4, key }));
      const plain = run((x, bias, residual) => add(residual, mul(add(x, bias), mask)));
      for (const i of [0, 1, 3]) expectBitwise(fused[i] ?? [], plain[i] ?? []);
      expectRelativeL2(fused[2] ?? [], plain[2] ?? [], { limit: 1e-6, because: 'rows are added in another order' });
    });
  });

  it('adds the gradient of a bias that is a parameter to what is there', () => {
    class Biased extends Module {
      readonly bias = new Parameter({ shape: [width] });
      override forward(x: Tensor): Tensor {
        return biasDropoutAdd(x, this.bias, x, { p: 0.4, key });
      }
    }
    const module = new Biased().initialize({ seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) });
    const gradAfter = (times: number) =>
      scope(() => {
        module.zeroGrad();
        for (let i = 0; i < times; i++) backward([module.call(ones())], [ones()]);
        return values(module.bias.grad);
      });
    const once = gradAfter(1);
    expect(once.some((value) => value !== 0)).toBe(true);
    expectBitwise(
      gradAfter(2),
      once.map((value) => 2 * value),
    );
    module.dispose();
  });

  it('gives x itself, and the bits of a plain sum, where p is 0 or inside evaluate', () => {
    scope(() => {
      const [x, bias, residual] = [leaf(shape, 1), leaf([width], 2), leaf(shape, 3)];
      const sum = values(add(residual, add(x, bias)));
      expect(dropout(x, { p: 0 })).toBe(x);
      expectBitwise(values(biasDropoutAdd(x, bias, residual, { p: 0 })), sum);
      expectBitwise(
        evaluate(() => values(biasDropoutAdd(x, bias, residual, { p: 0.5 }))),
        sum,
      );
    });
  });

  it('draws the same twice in a step, and anew in other steps, sites, microbatches and seeds', () => {
    const options = { p: 0.5 };
    const drawn = step(3, () => factors(options));
    expectBitwise(
      step(3, () => factors(options)),
      drawn,
    );
    expectBitwise(factors({ ...options, key: philoxKey(7, '  at step 3') }), drawn);
    const others = [
      step(4, () => factors(options)),
      step(3, () => factors({ ...options, site: 'mlp' })),
      step(3, () => withMicrobatch(1, () => factors(options))),
      step(3, () => factors(options), 8),
    ];
    expect(new Set([drawn, ...others].map(String)).size).toBe(5);
  });

  it('numbers samples through the microbatches of a step', () => {
    step(1, () => {
      const whole = tensor(factors({ p: 0.5 }, [seq, 6, width]), [seq, 6, width]);
      scope(() => {
        for (const number of [0, 1, 2]) {
          const part = withMicrobatch(number, () => factors({ p: 0.5 }, [seq, 2, width]));
          expectBitwise(part, values(slice(whole, 1, { start: 2 * number, end: 2 * number + 2 })));
        }
      });
      whole.dispose();
    });
    expect(ambient.microbatch).toBe(0);
  });

  it('draws by the path of the module that runs', () => {
    class Dropping extends Module {
      override forward(x: Tensor): Tensor {
        return dropout(x, { p: 0.5 });
      }
    }
    class Pair extends Module {
      readonly layers = [new Dropping(), new Dropping()];
      override forward(x: Tensor): Tensor[] {
        return this.layers.map((layer) => layer.call(x));
      }
    }
    const pair = new Pair().initialize({ seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) });
    const [first, second] = scope(() => step(2, () => pair.call(ones()).map(values)));
    expectBitwise(first ?? [], factors({ p: 0.5, key: philoxKey(7, 'layers.0  at step 2') }));
    expect(second).not.toEqual(first);
  });

  it('of attention draws by the running step too', () => {
    const attend = (n: number, own: object) =>
      step(n, () =>
        scope(() =>
          values(selfAttention(tensor(wave([6, 2, 24], 1), [6, 2, 24]), { numHeads: 2, causal: true, dropout: { p: 0.5, ...own } })),
        ),
      );
    expectBitwise(attend(5, {}), attend(5, { key: philoxKey(7, '  at step 5'), firstSample: 0 }));
    expect(attend(6, {})).not.toEqual(attend(5, {}));
  });

  it('refuses what makes no sense, in one sentence', () => {
    scope(() => {
      const x = leaf(shape, 1);
      for (const p of [1, -0.1, Number.NaN])
        expect(() => dropout(x, { p, key })).toThrow(`dropout: p is ${p}. Use a number from 0 to below 1.`);
      expect(() => dropout(x, { p: 0.1 })).toThrow(
        'dropout: what is dropped is drawn from the seed and the number of a step, and no step runs. Call the model inside ctx.step(n, …)',
      );
      expect(() => dropout(x, { p: 0.1, key, firstToken: -1 })).toThrow(
        'dropout: firstToken is -1. Use a whole number from 0 to below 2^32.',
      );
      expect(() => dropout(x, { p: 0.1, key, firstSample: 0.5 })).toThrow('dropout: firstSample is 0.5. Use a whole number');
      expect(() => withMicrobatch(-1, () => undefined)).toThrow('withMicrobatch: number is -1. Use a whole number');
      expect(() => dropout(leaf([4, 3], 1), { p: 0.1, key })).toThrow(
        'dropout: x [4, 3] is not [s, b, h]. Reshape it to these three dims.',
      );
      expect(() => biasDropoutAdd(x, leaf([3], 1), x, { p: 0.1, key })).toThrow(
        'biasDropoutAdd: x [5, 3, 70], bias [3] and residual [5, 3, 70] do not fit. The bias needs the last extent of x',
      );
      expect(() => dropout(tensor(new Float64Array(2), [1, 1, 2]), { p: 0.1, key })).toThrow(
        'dropout: x is f64[1, 1, 2], not f32 or bf16.',
      );
    });
  });
});
