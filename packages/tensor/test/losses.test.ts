import {
  type AnyTensor,
  backward,
  countTargets,
  crossEntropy,
  type CrossEntropyOptions,
  evaluate,
  linear,
  memoryStats,
  resetPeakMemory,
  scope,
  shardedCrossEntropy,
  shardedLinearCrossEntropy,
  sum,
  type Tensor,
  tensor,
} from '@megatron-ts/tensor';
import { expectBitwise, expectClose, expectRelativeL2, gradCheck } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { randomFrom } from './random-numbers.ts';

const values = (x: AnyTensor | undefined): Float32Array => Float32Array.from((x as AnyTensor).toArray() as Float32Array);
const wave = (count: number, phase: number, size = 1): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => size * Math.sin(1.3 * i + phase));
const wholeOf = (vocabSize: number) => ({ firstColumn: 0, vocabSize, maximum: () => undefined, sum: () => undefined });

interface Case {
  readonly rows: number;
  readonly vocab: number;
  readonly options: CrossEntropyOptions;
  readonly targets: Int32Array;
  readonly logits: Float32Array;
  readonly grad: Float32Array;
}

/** A case that nobody thought of. */
function randomCase(seed: number): Case {
  const random = randomFrom(seed);
  const [rows, vocab] = [1 + Math.floor(9 * random()), 1 + Math.floor(40 * random())];
  const own = <T>(share: number, value: T) => (random() < share ? value : undefined);
  const ignoreIndex = own(0.7, random() < 0.5 ? -100 : Math.floor(random() * vocab));
  const options = { labelSmoothing: own(0.7, random()), zLoss: own(0.7, random() * 0.1), ignoreIndex };
  const target = () => (ignoreIndex !== undefined && random() < 0.3 ? ignoreIndex : Math.floor(random() * vocab));
  const floats = (count: number, size: number) => Float32Array.from({ length: count }, () => size * (2 * random() - 1));
  return {
    rows,
    vocab,
    options,
    targets: Int32Array.from({ length: rows }, target),
    logits: floats(rows * vocab, 8),
    grad: floats(rows, 1),
  };
}

/** The definition, in f64. */
function byDefinition({ rows, vocab, options, targets, grad }: Case, logits: Float32Array) {
  const { labelSmoothing = 0, zLoss = 0, ignoreIndex } = options;
  const [losses, grads] = [new Float64Array(rows), new Float64Array(rows * vocab)];
  for (let row = 0; row < rows; row++) {
    const target = targets[row] ?? 0;
    if (target === ignoreIndex) continue;
    const x = Array.from(logits.subarray(row * vocab, (row + 1) * vocab));
    const z = Math.log(x.reduce((total, value) => total + Math.exp(value), 0));
    const wanted = x.map((_, j) => labelSmoothing / vocab + (j === target ? 1 - labelSmoothing : 0));
    losses[row] = x.reduce((total, value, j) => total - (wanted[j] ?? 0) * (value - z), 0) + zLoss * z * z;
    for (const [j, value] of x.entries())
      grads[row * vocab + j] = (grad[row] ?? 0) * (Math.exp(value - z) * (1 + 2 * zLoss * z) - (wanted[j] ?? 0));
  }
  return { losses, grads };
}

const rounding = (relative: number, because: string, ...of: readonly Float64Array[]) => ({
  atol: relative * of.flatMap((array) => [...array]).reduce((most, value) => Math.max(most, Math.abs(value)), 1),
  because,
});

describe('label smoothing, z-loss and ignored targets', () => {
  it('are what their definition says, in 100 random cases of f32 and bf16 logits, recorded or not', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = randomCase(seed);
      const { rows, vocab, options, grad } = random;
      for (const dtype of ['f32', 'bf16'] as const)
        scope(() => {
          const logits = tensor(random.logits, [rows, vocab], { dtype, requiresGrad: true });
          const [targets, held] = [tensor(random.targets), values(logits.to('f32'))];
          const losses = crossEntropy(logits, targets, options);
          backward([losses], [tensor(grad)]);
          const expected = byDefinition(random, held);
          expectClose(values(losses), expected.losses, rounding(2e-6, 'sums are f32', expected.losses));
          expectBitwise(values(evaluate(() => crossEntropy(logits, targets, options))), values(losses));
          const limit = dtype === 'f32' ? 2e-6 : 2 ** -8;
          expectClose(values(logits.grad?.to('f32')), expected.grads, rounding(limit, 'the gradient is rounded once', expected.grads));
        });
    }
  });

  it('are those of the two operations in a head that never holds all logits: losses bitwise, gradients close', () => {
    const [rows, hidden, vocab] = [1100, 8, 9000]; // two chunks
    const random = randomFrom(7);
    const targets = Int32Array.from({ length: rows }, () => (random() < 0.2 ? -1 : Math.floor(random() * vocab)));
    const options = { labelSmoothing: 0.1, zLoss: 1e-3, ignoreIndex: -1 };
    const because = 'the sum over tokens is cut at chunks';
    for (const grad of [new Float32Array(rows).fill(0.5), wave(rows, 3)])
      scope(() => {
        const leaves = () =>
          [
            tensor(wave(rows * hidden, 1), [rows, hidden], { requiresGrad: true }),
            tensor(wave(vocab * hidden, 2), [vocab, hidden], { requiresGrad: true }),
          ] as const;
        const [own, plain] = [leaves(), leaves()];
        const fused = shardedLinearCrossEntropy(...own, tensor(targets), { shards: wholeOf(vocab), ...options });
        const losses = crossEntropy(linear(...plain), tensor(targets), options);
        expectBitwise(values(fused), values(losses));
        backward([fused, losses], [tensor(grad), tensor(grad)]);
        own.forEach((leaf, i) => expectRelativeL2(values(leaf.grad), values(plain[i]?.grad), { limit: 1e-6, because }));
        const ignored = targets.findIndex((target) => target === -1);
        expect(values(fused)[ignored]).toBe(0);
        expect(values(own[0].grad).subarray(ignored * hidden, (ignored + 1) * hidden)).toEqual(new Float32Array(hidden));
      });
  });

  it('have the gradients of central differences', () => {
    scope(() => {
      const [x, weight] = [tensor(wave(24, 1), [4, 6]), tensor(wave(66, 2), [11, 6])];
      const targets = tensor(Int32Array.of(3, 10, 5, 0));
      const options = { labelSmoothing: 0.2, zLoss: 0.05, ignoreIndex: 5 };
      gradCheck((a, b) => crossEntropy(linear(a as Tensor, b as Tensor), targets, options), [x, weight] as const);
      const head = (a: AnyTensor, b: AnyTensor) => shardedLinearCrossEntropy(a, b, targets, { shards: wholeOf(11), ...options });
      gradCheck(head, [x, weight] as const);
    });
  });

  it('give zeros for a batch whose targets are all ignored, whatever its logits are, and count none', () => {
    scope(() => {
      const targets = tensor(Int32Array.of(-100, -100, -100));
      const [logits, x] = [
        tensor(new Float32Array(15).fill(NaN), [3, 5], { requiresGrad: true }),
        tensor(wave(6, 1), [3, 2], { requiresGrad: true }),
      ];
      const options = { labelSmoothing: 0.1, zLoss: 0.1, ignoreIndex: -100 };
      const losses = crossEntropy(logits, targets, options);
      const ofHead = shardedLinearCrossEntropy(x, tensor(wave(10, 2), [5, 2]), targets, { shards: wholeOf(5), ...options });
      backward([sum(losses), sum(ofHead)]);
      expect([values(losses), values(ofHead)]).toEqual([new Float32Array(3), new Float32Array(3)]);
      expect([values(logits.grad), values(x.grad)]).toEqual([new Float32Array(15), new Float32Array(6)]);
      expect([countTargets(targets, -100), countTargets(targets), countTargets(tensor(Int32Array.of(1, -100, 2)), -100)]).toEqual([
        0, 3, 2,
      ]);
    });
  });
});

describe('columns that pad the memory of logits', () => {
  it('are never read, and get neither probability nor smoothing nor gradient: the bits are those without them', () => {
    const [rows, vocab, hidden, padding] = [6, 13, 4, 3];
    const options = { labelSmoothing: 0.3, zLoss: 1e-2, ignoreIndex: 2 };
    const padded = { ...wholeOf(vocab), columns: vocab };
    scope(() => {
      const targets = () => tensor(Int32Array.of(0, 12, 2, 7, 7, 1));
      const logits = wave(rows * vocab, 1, 5);
      const wide = new Float32Array(rows * (vocab + padding)).fill(NaN);
      for (let row = 0; row < rows; row++) wide.set(logits.subarray(row * vocab, (row + 1) * vocab), row * (vocab + padding));
      const own = tensor(wide, [rows, vocab + padding], { requiresGrad: true });
      const plain = tensor(logits, [rows, vocab], { requiresGrad: true });
      const losses = [shardedCrossEntropy(own, targets(), padded, options), crossEntropy(plain, targets(), options)] as const;
      expectBitwise(values(losses[0]), values(losses[1]));
      backward(losses, [tensor(wave(rows, 2)), tensor(wave(rows, 2))]);
      const grad = values(own.grad);
      for (let row = 0; row < rows; row++) {
        const start = row * (vocab + padding);
        expectBitwise(grad.subarray(start, start + vocab), values(plain.grad).subarray(row * vocab, (row + 1) * vocab));
        expect(grad.subarray(start + vocab, start + vocab + padding)).toEqual(new Float32Array(padding));
      }
      const weight = wave((vocab + padding) * hidden, 3);
      const head = (extent: number, shards: typeof padded) => {
        const [x, w] = [
          tensor(wave(rows * hidden, 4), [rows, hidden], { requiresGrad: true }),
          tensor(weight.subarray(0, extent * hidden), [extent, hidden], { requiresGrad: true }),
        ];
        const found = shardedLinearCrossEntropy(x, w, targets(), { shards, ...options });
        backward([sum(found)]);
        return { losses: values(found), x: values(x.grad), w: values(w.grad) };
      };
      const [wideHead, plainHead] = [head(vocab + padding, padded), head(vocab, padded)];
      expect(wideHead.w.subarray(vocab * hidden)).toEqual(new Float32Array(padding * hidden));
      const because = 'a product over more columns is cut elsewhere';
      expectRelativeL2(wideHead.losses, plainHead.losses, { limit: 1e-6, because });
      expectRelativeL2(wideHead.x, plainHead.x, { limit: 1e-6, because });
      expectRelativeL2(wideHead.w.subarray(0, vocab * hidden), plainHead.w, { limit: 1e-6, because });
    });
  });
});

describe('options that make no loss', () => {
  it.each([
    [{ labelSmoothing: 1.5 }, 'crossEntropy: labelSmoothing is 1.5. Use a share from 0 to 1, such as 0.1.'],
    [{ labelSmoothing: NaN }, 'crossEntropy: labelSmoothing is NaN. Use a share from 0 to 1, such as 0.1.'],
    [{ zLoss: -1 }, 'crossEntropy: zLoss is -1. Use a coefficient of at least 0, such as 1e-4.'],
    [{ ignoreIndex: 0.5 }, 'crossEntropy: ignoreIndex is 0.5. Use a whole number that i32 holds, such as -100.'],
  ])('%j is refused', (options, sentence) => {
    const run = () => scope(() => void crossEntropy(tensor([1, 2], [1, 2]), tensor(Int32Array.of(1)), options));
    expect(run).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message: sentence }));
  });

  it('a target that is neither a token nor the one to ignore is named', () => {
    const run = () => scope(() => void crossEntropy(tensor([1, 2], [2, 1]), tensor(Int32Array.of(-100, -1)), { ignoreIndex: -100 }));
    expect(run).toThrow('crossEntropy: target -1 at position 1 is not in a vocabulary of 1. Use 0 to 0.');
  });
});

describe('memory of a head with its loss', () => {
  it('beyond one chunk of logits grows by a few numbers a token, not by its logits', () => {
    const [hidden, vocab, chunk] = [8, 20_000, 512];
    const options = { labelSmoothing: 0.1, zLoss: 1e-4, ignoreIndex: -1, shards: wholeOf(vocab) };
    const peakOf = (rows: number) =>
      scope(() => {
        const x = tensor(wave(rows * hidden, 1), [rows, hidden], { requiresGrad: true });
        const weight = tensor(wave(vocab * hidden, 2), [vocab, hidden], { requiresGrad: true });
        const targets = tensor(Int32Array.from({ length: rows }, (_, i) => i));
        const before = memoryStats().liveBytes;
        resetPeakMemory();
        backward([sum(shardedLinearCrossEntropy(x, weight, targets, options))]);
        return memoryStats().peakBytes - before;
      });
    const [one, many] = [peakOf(chunk), peakOf(4 * chunk)];
    const logits = 4 * chunk * vocab;
    expect(one).toBeGreaterThanOrEqual(logits);
    expect(one).toBeLessThan(1.25 * logits);
    // Gradient of x, losses, statistics, factors and gradients of the losses.
    expect(many - one).toBeLessThan(3 * chunk * 4 * (2 * hidden + 16));
  });
});
