import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { engine, Parameter, scope, tensor, zeros } from '@megatron-ts/tensor';
import { expectBitwise } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { Adam } from '../src/index.ts';
import { setGrad, wave } from './model.ts';

const shapes = [[3, 5], [5], [70_000], [1], [9, 11], [2]];
const settings = { lr: 0.01, weightDecay: 0.1 };

function parameters(ctx: ParallelContext): Parameter[] {
  return shapes.map((shape, i) => {
    const parameter = new Parameter({ shape, init: { kind: 'normal', std: 1 } });
    parameter.initialize(`p${i}`, ctx);
    return parameter;
  });
}

const values = (list: readonly Parameter[]) => list.map((parameter) => parameter.toArray() as Float32Array);

/** One update of each parameter by itself. */
function updateApart(p: Float32Array, g: Float32Array, decay: number): Float32Array {
  return scope(() => {
    const [own, grad, mean, square] = [tensor(p), tensor(g), zeros([p.length]), zeros([p.length])];
    const corrections = [0.9, 0.999].map((beta) => 1 - Math.fround(beta));
    const hyper = tensor(Float32Array.of(0.01, 0.9, 0.999, 1e-8, decay, ...corrections, 1, 1));
    engine.adamW(Uint32Array.of(own.handle, grad.handle, mean.handle, square.handle), Uint32Array.of(hyper.handle));
    return own.toArray() as Float32Array;
  });
}

describe('parameters laid flat', () => {
  it('keep their values and the gradients they have, and are updated with the bits of one after the other', async () => {
    await using ctx = await initializeModelParallel();
    const list = parameters(ctx);
    const before = values(list);
    setGrad(list[0] as Parameter, wave(15, 0));
    const optimizer = new Adam(list, settings);
    values(list).forEach((own, i) => expectBitwise(own, before[i] ?? []));
    expectBitwise(list[0]?.grad?.toArray() as Float32Array, wave(15, 0));
    list.slice(1).forEach((parameter, i) => setGrad(parameter, wave(parameter.numel, i + 1)));
    optimizer.step();
    list.forEach((parameter, i) => {
      const decay = parameter.shape.length === 1 ? 0 : 0.1;
      expectBitwise(parameter.toArray() as Float32Array, updateApart(before[i] as Float32Array, wave(parameter.numel, i), decay));
    });
    optimizer.dispose();
    for (const parameter of list) parameter.dispose();
  });

  it('are updated one by one where some have no gradient, or another optimizer has moved them', async () => {
    await using ctx = await initializeModelParallel();
    const list = parameters(ctx);
    const before = values(list);
    const [first, second] = [new Adam(list, settings), new Adam(list.slice(0, 3), settings)];
    for (const i of [0, 2, 3]) setGrad(list[i] as Parameter, wave((list[i] as Parameter).numel, i));
    first.step();
    values(list).forEach((own, i) => {
      const decay = shapes[i]?.length === 1 ? 0 : 0.1;
      expectBitwise(own, [0, 2, 3].includes(i) ? updateApart(before[i] as Float32Array, wave(own.length, i), decay) : (before[i] ?? []));
    });
    first.dispose();
    second.dispose();
    expect(list[2]?.toArray().length).toBe(70_000);
    for (const parameter of list) parameter.dispose();
  });
});
