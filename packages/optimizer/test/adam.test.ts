import { memoryStats, Parameter, tensor, wholeTensor } from '@megatron-ts/tensor';
import { initializeModelParallel } from '@megatron-ts/process-groups';
import { expectBitwise, expectClose } from '@megatron-ts/testing';
import { describe, expect, it, vi } from 'vitest';
import { Adam, type AdamOptions } from '../src/index.ts';
import { affine, backwardOnce, setGrad, wave } from './model.ts';

interface Reference {
  readonly p: number[];
  readonly m: number[];
  readonly v: number[];
}

interface ReferenceStep {
  readonly grad: readonly number[];
  readonly step: number;
  readonly decay: number;
  readonly decoupled: boolean;
}

const [lr, beta1, beta2, eps] = [0.01, 0.9, 0.999, 1e-8];

/** The formulas of the papers, in f64. */
function advance({ p, m, v }: Reference, { grad, step, decay, decoupled }: ReferenceStep): void {
  grad.forEach((own, i) => {
    const g = decoupled ? own : own + decay * (p[i] ?? 0);
    if (decoupled) p[i] = (p[i] ?? 0) * (1 - lr * decay);
    m[i] = beta1 * (m[i] ?? 0) + (1 - beta1) * g;
    v[i] = beta2 * (v[i] ?? 0) + (1 - beta2) * g * g;
    const denominator = Math.sqrt((v[i] ?? 0) / (1 - beta2 ** step)) + eps;
    p[i] = (p[i] ?? 0) - ((lr / (1 - beta1 ** step)) * (m[i] ?? 0)) / denominator;
  });
}

const because = 'the kernel computes in f32';

async function fiveSteps(options: Partial<AdamOptions>, gradScale = 1): Promise<void> {
  const { ctx, model } = await affine(5);
  await using _ = ctx;
  const parameters = model.parameters();
  const references = parameters.map((parameter) => ({ p: [...(parameter.toArray() as Float32Array)], m: [], v: [] }));
  const optimizer = new Adam(parameters, { lr, weightDecay: 0.1, ...options });
  for (let step = 1; step <= 5; step++) {
    parameters.forEach((parameter, i) => {
      const grad = wave(parameter.numel, step + i);
      setGrad(parameter, grad);
      const reference = references[i] as Reference;
      const decay = parameter.name === 'weight' ? 0.1 : 0;
      advance(reference, { grad: [...grad].map((g) => g * gradScale), step, decay, decoupled: options.decoupledWeightDecay ?? true });
    });
    expect(optimizer.step().skipped).toBe(false);
  }
  parameters.forEach((parameter, i) => expectClose(parameter as never, references[i]?.p ?? [], { rtol: 2e-6, atol: 2e-7, because }));
  optimizer.dispose();
  model.dispose();
}

describe('Adam', () => {
  it('follows AdamW in f64 over five steps, decaying weights and not biases', async () => {
    await fiveSteps({});
  });

  it('follows Adam with L2 in f64 when the decay is not decoupled', async () => {
    await fiveSteps({ decoupledWeightDecay: false });
  });

  it('clips to the global norm before the moments see the gradient', async () => {
    const { ctx, model } = await affine(2);
    await using _ = ctx;
    const optimizer = new Adam(model.parameters(), { lr: 1, betas: [0, 0], eps: 1, weightDecay: 0, clipGradNorm: 1 });
    const before = model.bias.toArray() as Float32Array;
    setGrad(model.weight, Float32Array.of(0, 0, 0, 3));
    setGrad(model.bias, Float32Array.of(0, 4));
    const { gradNorm } = optimizer.step();
    expect(gradNorm).toBe(5);
    // Without memory the update is g / (|g| + eps), with g = 4 / (5 + 1e-6).
    expectClose(model.bias as never, [before[0] ?? 0, (before[1] ?? 0) - 0.8 / 1.8], { atol: 1e-6, because });
    model.dispose();
    optimizer.dispose();
  });

  it('leaves everything as it was when a gradient is not finite, says so with the step, and goes on', async () => {
    const { ctx, model } = await affine(2);
    await using _ = ctx;
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const optimizer = new Adam(model.parameters(), { lr: (updates) => 0.1 * (updates + 1) });
    const before = model.weight.toArray() as Float32Array;
    const result = ctx.step(12, () => {
      setGrad(model.weight, Float32Array.of(1, Number.NaN, 1, 1));
      setGrad(model.bias, Float32Array.of(1, 1));
      return optimizer.step();
    });
    expect(write.mock.calls.flat()).toEqual([
      'Adam: step 12: the gradient norm is NaN, so this update is skipped. Look at the loss, or lower the learning rate.\n',
    ]);
    write.mockRestore();
    expect(result).toEqual({ gradNorm: Number.NaN, skipped: true, lr: 0.1 });
    expectBitwise(model.weight as never, before);
    expect(model.weight.grad).toBeUndefined();
    backwardOnce(model, 1);
    expect(optimizer.step()).toMatchObject({ skipped: false, lr: 0.1 });
    backwardOnce(model, 2);
    expect(optimizer.step().lr).toBe(0.2);
    model.dispose();
    optimizer.dispose();
  });

  it('adds the gradient of a tied use once and updates the shared values once', async () => {
    const ctx = await initializeModelParallel();
    await using _ = ctx;
    const weight = new Parameter({ shape: [2], init: { kind: 'ones' } });
    const tied = weight.tie();
    weight.initialize('weight', ctx);
    tied.initialize('tied', ctx);
    const optimizer = new Adam([weight, tied], { lr: 1, betas: [0, 0], eps: 1, weightDecay: 0 });
    setGrad(weight, Float32Array.of(1, 0));
    setGrad(tied, Float32Array.of(2, 0));
    expect(optimizer.step().gradNorm).toBe(3);
    expectClose(weight as never, [1 - 3 / 4, 1], { atol: 1e-7, because });
    weight.dispose();
    optimizer.dispose();
  });

  it('leaves parameters without a gradient, and frozen ones, alone', async () => {
    const { ctx, model } = await affine(2);
    await using _ = ctx;
    model.weight.requiresGrad = false;
    const before = model.parameters().map((parameter) => parameter.toArray() as Float32Array);
    const optimizer = new Adam(model.parameters(), { lr: 1 });
    optimizer.step();
    model.parameters().forEach((parameter, i) => expectBitwise(parameter as never, before[i] ?? []));
    model.dispose();
    optimizer.dispose();
  });

  it('holds as many bytes after step 500 as after step 10', async () => {
    const { ctx, model } = await affine(4);
    await using _ = ctx;
    const optimizer = new Adam(model.parameters(), { lr: 1e-3, clipGradNorm: 1 });
    let bytes = 0;
    let handles = 0;
    for (let step = 1; step <= 500; step++) {
      ctx.step(step, () => {
        backwardOnce(model, step);
        optimizer.step();
      });
      if (step === 10) ({ liveBytes: bytes, liveHandles: handles } = memoryStats());
    }
    expect(memoryStats()).toMatchObject({ liveBytes: bytes, liveHandles: handles });
    model.dispose();
    optimizer.dispose();
  });
});

describe('the sentences of Adam', () => {
  it('refuses parameters that have no memory, come twice, or are not there', async () => {
    const { ctx, model } = await affine(2);
    await using _ = ctx;
    const fresh = new Parameter({ shape: [2], meta: wholeTensor([2]) });
    expect(() => new Adam([model.weight, fresh], { lr: 1 })).toThrow(
      'Adam: 1 of 2 parameters have no memory yet. Call model.initialize(ctx) first.',
    );
    expect(() => new Adam([model.weight, model.weight], { lr: 1 })).toThrow(
      'Adam: parameter "weight" is in the list twice. Give each parameter once.',
    );
    expect(() => new Adam([], { lr: 1 })).toThrow('Adam: the list of parameters is empty. Give model.parameters().');
    model.dispose();
  });

  it('refuses settings that cannot work', async () => {
    const { ctx, model } = await affine(2);
    await using _ = ctx;
    const make = (options: AdamOptions) => () => new Adam(model.parameters(), options);
    expect(make({ lr: -1 })).toThrow('Adam: lr is -1. Use a number of at least 0.');
    expect(make({ lr: 1, betas: [0.9, 1] })).toThrow('Adam: betas are 0.9 and 1. Use numbers from 0 to below 1.');
    expect(make({ lr: 1, eps: 0 })).toThrow('Adam: eps is 0. Use a number above 0.');
    expect(make({ lr: 1, clipGradNorm: 0 })).toThrow('Adam: clipGradNorm is 0. Use a number above 0.');
    expect(make({ lr: 1, weightDecay: Number.NaN })).toThrow('Adam: weightDecay is NaN. Use a number of at least 0.');
    model.dispose();
  });

  it('refuses a second backward onto a gradient that is finished and still there', async () => {
    const { ctx, model } = await affine(2);
    await using _ = ctx;
    const { finalizeGrads } = await import('@megatron-ts/process-groups');
    backwardOnce(model, 1);
    finalizeGrads(model.parameters(), { ctx });
    expect(() => backwardOnce(model, 2)).toThrow(
      'its gradient of the last step is reduced and still there. Call optimizer.step() or zeroGrad()',
    );
    model.zeroGrad();
    backwardOnce(model, 2);
    expect(tensor([1]).item()).toBe(1);
    model.dispose();
  });
});
