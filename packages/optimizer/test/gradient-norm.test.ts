import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { Parameter } from '@megatron-ts/tensor';
import { expectClose } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { clipGradNorm, globalGradNorm } from '../src/index.ts';
import { setGrad, wave } from './model.ts';

function withGrads(ctx: ParallelContext, grads: readonly Float32Array[]): Parameter[] {
  return grads.map((grad, i) => {
    const parameter = new Parameter({ shape: [grad.length] });
    parameter.initialize(`p${i}`, ctx);
    setGrad(parameter, grad);
    return parameter;
  });
}

describe('globalGradNorm', () => {
  it('does not depend on the order of parameters or on how they are cut, to the last bit', async () => {
    await using ctx = await initializeModelParallel();
    const values = Float32Array.from(wave(3001, 7), (x, i) => x * 2 ** (((i * 37) % 90) - 45));
    const whole = withGrads(ctx, [values]);
    const cuts = [0, 1, 700, 701, 2048, 3001];
    const parts = withGrads(
      ctx,
      cuts.slice(1).map((end, i) => values.slice(cuts[i], end)),
    );
    const norm = globalGradNorm(whole, { ctx });
    expect(globalGradNorm(parts, { ctx })).toBe(norm);
    expect(globalGradNorm([...parts].reverse(), { ctx })).toBe(norm);
    for (const parameter of [...whole, ...parts]) parameter.dispose();
  });

  it('adds exactly what f64 would lose', async () => {
    await using ctx = await initializeModelParallel();
    // 2^60 + 1000 ones; the root of an exact sum, rounded once.
    const parameters = withGrads(ctx, [Float32Array.of(2 ** 30), new Float32Array(1000).fill(1)]);
    expect(globalGradNorm(parameters, { ctx })).toBe(Math.sqrt(Number(2n ** 60n + 1000n)));
    for (const parameter of parameters) parameter.dispose();
  });

  it('is NaN or infinite when a gradient is', async () => {
    await using ctx = await initializeModelParallel();
    const parameters = withGrads(ctx, [Float32Array.of(1, Number.POSITIVE_INFINITY)]);
    expect(globalGradNorm(parameters, { ctx })).toBe(Number.POSITIVE_INFINITY);
    for (const parameter of parameters) parameter.dispose();
  });
});

describe('clipGradNorm', () => {
  it('scales all gradients when their norm is above the limit, and returns the norm before', async () => {
    await using ctx = await initializeModelParallel();
    const [a, b] = withGrads(ctx, [Float32Array.of(3), Float32Array.of(0, 4)]) as [Parameter, Parameter];
    expect(clipGradNorm([a, b], { ctx, maxNorm: 10 })).toBe(5);
    expect([...(b.grad?.toArray() as Float32Array)]).toEqual([0, 4]);
    expect(clipGradNorm([a, b], { ctx, maxNorm: 1 })).toBe(5);
    expectClose(a.grad as never, [0.6], { rtol: 1e-6, because: 'the limit is divided by the norm plus 1e-6' });
    expectClose(b.grad as never, [0, 0.8], { rtol: 1e-6, because: 'the limit is divided by the norm plus 1e-6' });
    expect(() => clipGradNorm([a, b], { ctx, maxNorm: 0 })).toThrow('clipGradNorm: maxNorm is 0. Use a number above 0.');
    a.dispose();
    b.dispose();
  });
});
