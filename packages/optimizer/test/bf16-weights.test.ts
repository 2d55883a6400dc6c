import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { copyInto, type DType, memoryStats, Parameter, scope, tensor } from '@megatron-ts/tensor';
import { expectBitwise } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { Adam } from '../src/index.ts';
import { setGrad, wave } from './model.ts';

const shapes = [[33, 5], [5], [70_000], [1]];
const settings = { lr: 0.01, weightDecay: 0.1, clipGradNorm: 1 };

const values = (list: readonly Parameter[]) => list.map((parameter) => parameter.toArray() as Float32Array);
const rounded = (array: Float32Array) => scope(() => tensor(array, [array.length], { dtype: 'bf16' }).toArray() as Float32Array);

/** Parameters that hold bf16 numbers, in either dtype. */
function parameters(ctx: ParallelContext, dtypeOf: (index: number) => DType): Parameter[] {
  return shapes.map((shape, i) => {
    const parameter = new Parameter({ shape, dtype: dtypeOf(i), init: { kind: 'normal', std: 1 } });
    parameter.initialize(`p${i}`, ctx);
    return parameter;
  });
}

/** Twins of `list` in f32, with the values that `list` has now. */
function twinsOf(ctx: ParallelContext, list: readonly Parameter[]): Parameter[] {
  const twins = parameters(ctx, () => 'f32');
  scope(() => twins.forEach((twin, i) => copyInto(twin, (list[i] as Parameter).to('f32'))));
  return twins;
}

function stepBoth(optimizers: readonly Adam[], lists: readonly (readonly Parameter[])[], n: number): void {
  for (const list of lists) list.forEach((parameter, i) => setGrad(parameter, wave(parameter.numel, 10 * n + i)));
  const norms = optimizers.map((optimizer) => optimizer.step().gradNorm);
  expect(norms[0]).toBe(norms[1]);
}

describe('Adam on bf16 parameters', () => {
  const mixtures: readonly (readonly [name: string, dtypeOf: (index: number) => DType])[] = [
    ['all of them', () => 'bf16'],
    ['beside f32 ones', (i) => (i % 2 === 0 ? 'bf16' : 'f32')],
  ];
  it.each(mixtures)('keeps main weights in f32 and gives the model their bits, rounded once: %s', async (_, dtypeOf) => {
    await using ctx = await initializeModelParallel();
    const list = parameters(ctx, dtypeOf);
    const twins = twinsOf(ctx, list);
    const optimizers = [new Adam(list, settings), new Adam(twins, settings)];
    for (let n = 0; n < 5; n++) stepBoth(optimizers, [list, twins], n);
    values(twins).forEach((exact, i) => expectBitwise(values(list)[i] ?? [], dtypeOf(i) === 'bf16' ? rounded(exact) : exact));
    for (const optimizer of optimizers) optimizer.dispose();
    for (const parameter of [...list, ...twins]) parameter.dispose();
  });

  it('adds up steps that are too small for bf16', async () => {
    await using ctx = await initializeModelParallel();
    const weight = new Parameter({ shape: [64], dtype: 'bf16', init: { kind: 'ones' } });
    weight.initialize('weight', ctx);
    const optimizer = new Adam([weight], { lr: 1e-4, weightDecay: 0 });
    for (let n = 0; n < 100; n++) {
      setGrad(weight, new Float32Array(64).fill(1));
      optimizer.step();
      if (n === 0) expect(weight.toArray()[0]).toBe(1); // 0.9999 has no number of its own
    }
    expect(weight.toArray()[0]).toBeCloseTo(0.99, 2);
    optimizer.dispose();
    weight.dispose();
  });

  it('updates parameters one by one where some have no gradient', async () => {
    await using ctx = await initializeModelParallel();
    const list = parameters(ctx, () => 'bf16');
    const twins = twinsOf(ctx, list);
    const before = values(list);
    const optimizers = [new Adam(list, settings), new Adam(twins, settings)];
    for (const parameters of [list, twins]) setGrad(parameters[2] as Parameter, wave(70_000, 2));
    for (const optimizer of optimizers) optimizer.step();
    values(list).forEach((own, i) => expectBitwise(own, i === 2 ? rounded(values(twins)[2] as Float32Array) : (before[i] ?? [])));
    for (const optimizer of optimizers) optimizer.dispose();
    for (const parameter of [...list, ...twins]) parameter.dispose();
  });

  it('takes 2 bytes of parameters, 4 of gradients and 12 of its own for each', async () => {
    await using ctx = await initializeModelParallel();
    const before = memoryStats().byCategory;
    const weight = new Parameter({ shape: [1 << 16], dtype: 'bf16' });
    weight.initialize('weight', ctx);
    const optimizer = new Adam([weight], settings);
    const after = memoryStats().byCategory;
    const perElement = (use: 'parameters' | 'gradients' | 'optimizer') =>
      Math.round((after[use].liveBytes - before[use].liveBytes) / weight.numel);
    expect([perElement('parameters'), perElement('gradients'), perElement('optimizer')]).toEqual([2, 4, 12]);
    optimizer.dispose();
    weight.dispose();
  });

  it('refuses parameters of other dtypes', async () => {
    await using ctx = await initializeModelParallel();
    const weight = new Parameter({ shape: [2], dtype: 'f16' });
    weight.initialize('weight', ctx);
    expect(() => new Adam([weight], settings)).toThrow('Adam: parameter "weight" is f16, not f32 or bf16. Give it one of these dtypes.');
    weight.dispose();
  });
});
