import { Adam } from '@megatron-ts/optimizer';
import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { linear, memoryStats, Module, Parameter, scope, type Tensor, tensor, tanh } from '@megatron-ts/tensor';
import { expectBitwise } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { DistributedDataParallel, type DataParallelOptions } from '../src/index.ts';

const size = 6;

class TwoLayers extends Module {
  readonly first = new Parameter({ shape: [size, size], init: { kind: 'normal', std: 0.4 } });
  readonly bias = new Parameter({ shape: [size], init: { kind: 'uniform', low: -0.1, high: 0.1 } });
  readonly second = new Parameter({ shape: [size, size], init: { kind: 'normal', std: 0.4 } });

  override forward(x: Tensor): Tensor {
    return linear(tanh(linear(x, this.first, this.bias)), this.second);
  }
}

class OneUnused extends TwoLayers {
  readonly unused = new Parameter({ shape: [3], init: { kind: 'ones' } });
}

function input(microbatch: number): Tensor {
  return tensor(
    Float32Array.from({ length: 4 * size }, (_, i) => Math.sin(3.7 * i + 11.3 * microbatch)),
    [4, size],
  );
}

function backward(model: { call(x: Tensor): Tensor }, microbatch: number): void {
  scope(() => model.call(input(microbatch)).square().sum().backward());
}

function gradsOf(model: Module): Map<string, Float32Array> {
  return new Map([...model.namedParameters()].map(([name, { grad }]) => [name, (grad?.toArray() ?? new Float32Array()) as Float32Array]));
}

function expectSameGrads(actual: Map<string, Float32Array>, expected: Map<string, Float32Array>): void {
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  for (const [name, values] of expected) expectBitwise(actual.get(name) ?? [], values);
}

interface Run {
  readonly options?: Omit<DataParallelOptions, 'dpGroup'>;
  readonly microbatches: readonly number[];
}

/** Gradients of a step of the wrapped model. */
function stepOf(ctx: ParallelContext, { options = {}, microbatches }: Run): Map<string, Float32Array> {
  const model = new DistributedDataParallel(new TwoLayers().initialize(ctx), { dpGroup: ctx.dp, ...options });
  model.beginStep(microbatches.length);
  for (const microbatch of microbatches) backward(model, microbatch);
  model.finish();
  const grads = gradsOf(model);
  model.dispose();
  return grads;
}

/** Gradients of the plain model, microbatches in turn. */
function plain(ctx: ParallelContext, microbatches: readonly number[]): Map<string, Float32Array> {
  const model = new TwoLayers().initialize(ctx);
  for (const microbatch of microbatches) backward(model, microbatch);
  const grads = gradsOf(model);
  model.dispose();
  return grads;
}

describe('DistributedDataParallel on one rank', () => {
  it('gives the gradients of the plain model, whatever the size of its buckets', async () => {
    await using ctx = await initializeModelParallel();
    const expected = plain(ctx, [0, 1, 2]);
    for (const bucketBytes of [4, 100, 200, 1e9])
      expectSameGrads(stepOf(ctx, { options: { bucketBytes }, microbatches: [0, 1, 2] }), expected);
  });

  it('sums each group of microbatches apart and adds the groups in order', async () => {
    await using ctx = await initializeModelParallel();
    const groups = [
      [0, 1],
      [2, 3],
      [4, 5],
    ].map((group) => plain(ctx, group));
    const expected = new Map(
      [...(groups[0] ?? [])].map(([name, first]) => {
        const total = Float32Array.from(first);
        for (const group of groups.slice(1)) total.forEach((value, i) => (total[i] = value + (group.get(name)?.[i] ?? 0)));
        return [name, total];
      }),
    );
    expectSameGrads(stepOf(ctx, { options: { accumulationGroups: 3 }, microbatches: [0, 1, 2, 3, 4, 5] }), expected);
    expectSameGrads(stepOf(ctx, { options: { accumulationGroups: 6 }, microbatches: [0, 1, 2, 3, 4, 5] }), plain(ctx, [0, 1, 2, 3, 4, 5]));
  });

  it('divides by ranks times microbatches for means, and by tokens for sums', async () => {
    await using ctx = await initializeModelParallel();
    const sums = plain(ctx, [0, 1, 2, 3]);
    const quarter = new Map([...sums].map(([name, values]) => [name, values.map((value) => value / 4)]));
    expectSameGrads(stepOf(ctx, { options: { gradReduction: 'mean' }, microbatches: [0, 1, 2, 3] }), quarter);
    const model = new DistributedDataParallel(new TwoLayers().initialize(ctx), { dpGroup: ctx.dp });
    model.beginStep(4);
    for (const microbatch of [0, 1, 2, 3]) backward(model, microbatch);
    model.finalizeGrads({ numTokens: 16 });
    model.finish(); // nothing to do the second time
    expectSameGrads(gradsOf(model), new Map([...sums].map(([name, values]) => [name, values.map((value) => value / 16)])));
    model.dispose();
  });

  it('accumulates under noSync, and counts those microbatches for the mean', async () => {
    await using ctx = await initializeModelParallel();
    const model = new DistributedDataParallel(new TwoLayers().initialize(ctx), { dpGroup: ctx.dp, gradReduction: 'mean' });
    model.noSync(() => backward(model, 0));
    backward(model, 1);
    model.finish();
    expectSameGrads(gradsOf(model), new Map([...plain(ctx, [0, 1])].map(([name, values]) => [name, values.map((value) => value / 2)])));
    model.dispose();
  });

  it('gives parameters that no microbatch used a gradient of zero', async () => {
    await using ctx = await initializeModelParallel();
    const model = new DistributedDataParallel(new OneUnused().initialize(ctx), { dpGroup: ctx.dp });
    backward(model, 0);
    model.finish();
    expect([...(model.module.unused.grad?.toArray() as Float32Array)]).toEqual([0, 0, 0]);
    model.dispose();
  });

  it('starts anew after zeroGrad, also in the middle of a step', async () => {
    await using ctx = await initializeModelParallel();
    const model = new DistributedDataParallel(new TwoLayers().initialize(ctx), { dpGroup: ctx.dp, accumulationGroups: 2 });
    model.beginStep(4);
    for (const microbatch of [7, 8, 9]) backward(model, microbatch);
    model.zeroGrad();
    model.beginStep(2);
    for (const microbatch of [0, 1]) backward(model, microbatch);
    model.finish();
    expectSameGrads(gradsOf(model), plain(ctx, [0, 1]));
    model.dispose();
  });

  it('keeps the names of parameters and forwards calls', async () => {
    await using ctx = await initializeModelParallel();
    const inner = new TwoLayers().initialize(ctx);
    const model = new DistributedDataParallel(inner, { dpGroup: ctx.dp });
    expect([...model.namedParameters().keys()]).toEqual(['first', 'bias', 'second']);
    scope(() => expectBitwise(model.call(input(0)), inner.call(input(0))));
    model.dispose();
  });

  it('trains with Adam as the plain model does, to the last bit, and holds its memory level', async () => {
    await using ctx = await initializeModelParallel();
    const before = memoryStats();
    const wrapped = new DistributedDataParallel(new TwoLayers().initialize(ctx), {
      dpGroup: ctx.dp,
      accumulationGroups: 2,
      bucketBytes: 100,
    });
    const bare = new TwoLayers().initialize(ctx);
    const [left, right] = [new Adam(wrapped.parameters(), { lr: 0.01 }), new Adam(bare.parameters(), { lr: 0.01 })];
    let bytes = 0;
    let handles = 0;
    for (let step = 1; step <= 500; step++) {
      ctx.step(step, () => {
        wrapped.beginStep(2);
        for (const model of [wrapped, bare]) for (const microbatch of [2 * step, 2 * step + 1]) backward(model as TwoLayers, microbatch);
        expect(left.step()).toEqual(right.step());
      });
      if (step === 10) ({ liveBytes: bytes, liveHandles: handles } = memoryStats());
    }
    expect(memoryStats()).toMatchObject({ liveBytes: bytes, liveHandles: handles });
    wrapped.parameters().forEach((parameter, i) => expectBitwise(parameter as never, bare.parameters()[i] as never));
    for (const owner of [wrapped, bare, left, right]) owner.dispose();
    expect(memoryStats()).toMatchObject({ liveBytes: before.liveBytes, liveHandles: before.liveHandles });
  });
});

describe('the sentences of DistributedDataParallel', () => {
  it('refuses models and options that cannot work', async () => {
    await using ctx = await initializeModelParallel();
    const make =
      (options: Partial<DataParallelOptions>, module = new TwoLayers().initialize(ctx)) =>
      () =>
        new DistributedDataParallel(module, { dpGroup: ctx.dp, ...options });
    expect(make({}, new TwoLayers())).toThrow(
      'DistributedDataParallel: 3 of 3 parameters have no memory yet. Call model.initialize(ctx) first.',
    );
    expect(make({ bucketBytes: 0 })).toThrow('DistributedDataParallel: bucketBytes is 0. Use a number above 0.');
    expect(make({ accumulationGroups: 1.5 })).toThrow(
      'DistributedDataParallel: accumulationGroups is 1.5. Use a whole number of at least 1.',
    );
    expect(make({ gradReduction: 'max' as 'sum' })).toThrow('DistributedDataParallel: gradReduction is "max". Use "sum" or "mean".');
    const model = new DistributedDataParallel(new TwoLayers().initialize(ctx), { dpGroup: ctx.dp });
    expect(make({}, model.module)).toThrow('the gradient of parameter "first" is reduced by another wrapper already. Wrap a model once.');
    model.dispose();
  });

  it('refuses a step whose microbatches do not fall into groups, or that begins on old gradients', async () => {
    await using ctx = await initializeModelParallel();
    const model = new DistributedDataParallel(new TwoLayers().initialize(ctx), { dpGroup: ctx.dp, accumulationGroups: 2 });
    expect(() => model.beginStep(3)).toThrow(
      'DistributedDataParallel.beginStep: 3 microbatches do not fall into accumulationGroups 2 of one size. Use a multiple of it.',
    );
    expect(() => backward(model, 0)).toThrow(
      'DistributedDataParallel: accumulationGroups 2 needs the number of microbatches. Call beginStep(numMicrobatches) before the '
        + 'first forward.',
    );
    expect(() => model.beginStep(2)).toThrow('has a gradient already. Call optimizer.step() or zeroGrad() before the next step.');
    model.dispose();
  });

  it('refuses one microbatch too many', async () => {
    await using ctx = await initializeModelParallel();
    const model = new DistributedDataParallel(new TwoLayers().initialize(ctx), { dpGroup: ctx.dp });
    backward(model, 0);
    expect(() => backward(model, 1)).toThrow(
      'got the gradient of microbatch 2 after the backward that completed it. Call beginStep(n) before the n backwards of a step, or '
        + 'noSync() around all but the last.',
    );
    model.zeroGrad();
    model.beginStep(1);
    backward(model, 0);
    expect(() => backward(model, 1)).toThrow('got the gradient of microbatch 2 in a step of 1.');
    model.dispose();
  });
});
