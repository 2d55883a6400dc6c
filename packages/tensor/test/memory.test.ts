import {
  backward,
  categorize,
  copyInto,
  emptyCache,
  inCategory,
  linear,
  memoryCategories,
  memoryStats,
  Module,
  mseLoss,
  noGrad,
  Parameter,
  resetPeakMemory,
  scope,
  Tape,
  type Tensor,
  tensor,
  zeros,
} from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';

const context = { seed: 5, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };

class Perceptron extends Module {
  readonly up = new Parameter({ shape: [32, 8], init: { kind: 'normal', std: 0.3 } });
  readonly upBias = new Parameter({ shape: [32] });
  readonly down = new Parameter({ shape: [8, 32], init: { kind: 'normal', std: 0.3 } });

  forward(x: Tensor): Tensor {
    return linear(linear(x, this.up, this.upBias).gelu(), this.down);
  }
}

const inputs = (n: number) => Float32Array.from({ length: 16 * 8 }, (_, i) => Math.sin(n * 31 + i));

function descend(model: Module, rate: number): void {
  noGrad(() =>
    scope(() => {
      for (const parameter of model.parameters())
        if (parameter.grad !== undefined) copyInto(parameter, parameter.sub(parameter.grad.mul(rate)));
    }),
  );
  model.zeroGrad();
}

describe('memory', () => {
  it('is flat over 300 steps: live bytes after step 10 equal those after the last', () => {
    const model = new Perceptron().initialize(context);
    const live: { bytes: number; handles: number }[] = [];
    const losses: number[] = [];
    for (let n = 0; n < 300; n++) {
      const loss = scope(() => {
        const l = mseLoss(model.call(tensor(inputs(n % 7), [16, 8])), tensor(inputs(n % 7).map(Math.abs), [16, 8]));
        l.backward();
        descend(model, 0.1);
        return l.item();
      });
      losses.push(loss);
      const { liveBytes, liveHandles } = memoryStats();
      live.push({ bytes: liveBytes, handles: liveHandles });
    }
    expect(new Set(live.slice(10).map(({ bytes }) => bytes)).size).toBe(1);
    expect(new Set(live.slice(10).map(({ handles }) => handles)).size).toBe(1);
    expect(losses.at(-1)).toBeLessThan(0.5 * (losses[0] ?? 0));
    model.dispose();
  });

  it('is flat over steps with several tapes, whose last one is never run backward', () => {
    const model = new Perceptron().initialize(context);
    const live: number[] = [];
    for (let n = 0; n < 20; n++) {
      scope(() => {
        const tapes = [0, 1, 2].map(() => new Tape());
        const outputs = tapes.map((tape, i) =>
          tape.run(() =>
            scope(() =>
              model
                .call(tensor(inputs(i), [16, 8]))
                .square()
                .sum(),
            ),
          ),
        );
        for (const output of outputs.slice(0, 2)) backward([output]);
        for (const tape of tapes) tape.dispose();
        model.zeroGrad();
      });
      live.push(memoryStats().liveBytes);
    }
    expect(new Set(live.slice(1)).size).toBe(1);
    model.dispose();
  });

  it('is given back by a step that throws', () => {
    const model = new Perceptron().initialize(context);
    const step = () =>
      scope(() => {
        const y = model.call(tensor(inputs(0), [16, 8]));
        y.add(tensor([1, 2, 3]));
      });
    expect(step).toThrow();
    const { liveBytes } = memoryStats();
    for (let n = 0; n < 5; n++) expect(step).toThrow();
    expect(memoryStats().liveBytes).toBe(liveBytes);
    model.dispose();
  });

  it('counts bytes, handles and the peak', () => {
    scope(() => {
      const before = memoryStats();
      resetPeakMemory();
      const x = zeros([1024]);
      const during = memoryStats();
      expect(during.liveHandles).toBe(before.liveHandles + 1);
      expect(during.liveBytes).toBeGreaterThanOrEqual(before.liveBytes + 4096);
      x.dispose();
      expect(memoryStats().liveBytes).toBe(before.liveBytes);
      expect(memoryStats().peakBytes).toBeGreaterThanOrEqual(during.liveBytes);
    });
  });

  it('is counted by use: parameters, gradients, what is said to be something else, and activations', () => {
    resetPeakMemory();
    const uses = () => {
      const { byCategory } = memoryStats();
      return memoryCategories.map((category) => byCategory[category].liveBytes);
    };
    const before = uses();
    const grown = () => uses().map((bytes, i) => bytes - (before[i] ?? 0));
    const model = new Perceptron().initialize(context);
    const bytes = 4 * (32 * 8 + 32 + 8 * 32);
    expect(grown()).toEqual([bytes, 0, 0, 0, grown()[4], 0]);
    scope(() => {
      const l = mseLoss(model.call(tensor(inputs(0), [16, 8])), tensor(inputs(1), [16, 8]));
      expect(grown()[3]).toBeGreaterThan(16 * 32 * 4);
      l.backward();
      const state = inCategory('optimizer', () => zeros([10]));
      const buffer = zeros([6]);
      categorize(buffer.reshape([2, 3]), 'communication');
      expect([grown()[1], grown()[2], grown()[5]]).toEqual([bytes, state.bytes, buffer.bytes]);
      expect(() => inCategory('optimizer', () => zeros([-1]))).toThrow();
      expect(zeros([7]).bytes).toBe(28);
      expect(grown()[2]).toBe(state.bytes);
    });
    expect([grown()[1], grown()[2], grown()[3], grown()[5]]).toEqual([bytes, 0, 0, 0]);
    model.dispose();
    expect([grown()[0], grown()[1]]).toEqual([0, 0]);
  });

  it('that nobody uses goes back to the system when asked', () => {
    const before = memoryStats();
    zeros([2 ** 25]).dispose();
    const between = memoryStats();
    expect(between.reservedBytes).toBeGreaterThanOrEqual(before.reservedBytes + 2 ** 27);
    expect(between.cachedBytes).toBeGreaterThanOrEqual(2 ** 27);
    emptyCache();
    const after = memoryStats();
    expect(after.reservedBytes).toBeLessThanOrEqual(between.reservedBytes - 2 ** 27);
    expect(after.liveBytes).toBe(before.liveBytes);
    expect(after.systemCalls).toBeGreaterThan(between.systemCalls);
  });

  it('that is absurd is refused with the number of bytes', () => {
    expect(() => zeros([2 ** 40, 2 ** 10])).toThrow(
      expect.objectContaining({ name: 'EngineError', code: 'OUT_OF_MEMORY', message: expect.stringContaining(String(2 ** 52)) as string }),
    );
  });
});
