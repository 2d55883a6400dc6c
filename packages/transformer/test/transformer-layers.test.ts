import { expectBitwise, expectClose, expectRelativeL2, runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Both, Stored } from '../../tensor-parallel/test/ranks/observe.ts';
import { wholeTensors } from '../../tensor-parallel/test/whole-tensors.ts';
import type { TransformerLayers } from './ranks/transformer-layers.ts';

const size = 2;
let ranks: TransformerLayers[];

beforeAll(async () => {
  const url = new URL('ranks/transformer-layers.ts', import.meta.url);
  ranks = await runRanks<TransformerLayers>(size, url, 'transformerLayers', { args: [size] });
}, 120_000);

const close = { limit: 2e-6, because: 'tensor parallelism adds the products in another order' };

function block(name: keyof TransformerLayers['blocks']): Both[] {
  return ranks.map(({ blocks }) => blocks[name]);
}

function chained(parts: readonly Float32Array[]): Float32Array {
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

function expectCloseTensors(actual: readonly Stored[][], expected: Stored[] | undefined): void {
  const whole = wholeTensors([expected ?? []]);
  const found = wholeTensors(actual);
  expect([...found.keys()].sort()).toEqual([...whole.keys()].sort());
  for (const [name, values] of found) {
    const expectedValues = whole.get(name) ?? [];
    if (name.endsWith('qkv.bias.k'))
      expectClose(values, expectedValues, { atol: 1e-5, because: 'softmax ignores it, so that its gradient is rounding alone' });
    else expectRelativeL2(values, expectedValues, close);
  }
}

function expectSameWeights(observed: readonly Both[]): void {
  const whole = wholeTensors([observed[0]?.whole.weights ?? []]);
  for (const [name, values] of wholeTensors(observed.map(({ sharded }) => sharded.weights))) expectBitwise(values, whole.get(name) ?? []);
}

describe('transformer blocks on two ranks against one', () => {
  it.each(['attention', 'mlp', 'layer'] as const)('%s: output, gradients of the input and of all weights are close', (name) => {
    const [first] = block(name);
    expectSameWeights(block(name));
    for (const { sharded, whole } of block(name)) {
      expectRelativeL2(sharded.output, whole.output, close);
      expectRelativeL2(sharded.inputGrad, whole.inputGrad, close);
    }
    expectCloseTensors(
      block(name).map(({ sharded }) => sharded.grads),
      first?.whole.grads,
    );
  });

  it('a layer takes exactly two all-reduces forward and two backward, and nothing else', () => {
    for (const { sharded } of block('layer')) {
      const none = { allGather: 0, reduceScatter: 0, broadcast: 0, allToAll: 0, exchange: 0, barrier: 0 };
      const bytes = 2 * 6 * 2 * 16 * 4;
      expect(sharded.forward).toMatchObject({ allReduce: 2, ...none, bytes });
      expect(sharded.backward).toMatchObject({ allReduce: 2, ...none, bytes });
    }
  });

  it('under sequence parallelism each rank has its rows, and norms and biases get the sum of the ranks', () => {
    const [first] = block('sequence');
    expectRelativeL2(chained(block('sequence').map(({ sharded }) => sharded.output)), first?.whole.output ?? [], close);
    expectRelativeL2(chained(block('sequence').map(({ sharded }) => sharded.inputGrad)), first?.whole.inputGrad ?? [], close);
    expectCloseTensors(
      block('sequence').map(({ sharded }) => sharded.grads),
      first?.whole.grads,
    );
    for (const { sharded } of block('sequence'))
      for (const [{ allReduce, allGather, reduceScatter }, again] of [[sharded.forward, 0] as const, [sharded.backward, 2] as const])
        expect([allReduce, allGather, reduceScatter]).toEqual([0, 2 + again, 2]); // inputs of the columns are gathered again, not saved
  });
});

describe('a pooler on two ranks', () => {
  it.each(['pooler', 'sequence pooler'] as const)('%s: has the bits of one rank, and only the first token gets a gradient', (name) => {
    const [first] = block(name);
    expectSameWeights(block(name));
    for (const { sharded, whole } of block(name)) expectBitwise(sharded.output, whole.output);
    const grads = block(name).map(({ sharded }) => sharded.inputGrad);
    const own = first?.whole.inputGrad ?? new Float32Array(0);
    expect(own.subarray(0, 32).every((value) => value !== 0)).toBe(true);
    expect(own.subarray(32).every((value) => value === 0)).toBe(true);
    if (name === 'pooler') for (const grad of grads) expectBitwise(grad, own);
    // The other rank's rows are not looked at, and get nothing.
    else expect([grads[0]?.length, grads[1]?.length]).toEqual([own.length / 2, 0]);
    if (name !== 'pooler') expectBitwise(grads[0] ?? [], own.subarray(0, own.length / 2));
    const whole = wholeTensors([first?.whole.grads ?? []]);
    for (const [parameter, values] of wholeTensors(block(name).map(({ sharded }) => sharded.grads)))
      expectBitwise(values, whole.get(parameter) ?? []);
  });

  it('sends one token of each sample, and nothing in backward', () => {
    for (const { sharded } of block('sequence pooler')) {
      expect(sharded.forward).toMatchObject({ broadcast: 1, allReduce: 0, allGather: 0, reduceScatter: 0, bytes: 2 * 16 * 4 });
      expect(sharded.backward).toMatchObject({ broadcast: 0, allReduce: 0, allGather: 0, reduceScatter: 0 });
    }
    for (const { sharded } of block('pooler')) expect(sharded.forward).toMatchObject({ broadcast: 0, allReduce: 0, bytes: 0 });
  });
});

describe('the product of a head', () => {
  const wholeHeads = ['language model, false', 'masked, false'];
  const cutHeads = ['language model, true', 'masked, true'];

  it.each([...wholeHeads, ...cutHeads])('has the bits of its mapping and its product one after the other: %s', (name) => {
    for (const { heads } of ranks) {
      const { own, apart } = heads[name] ?? {};
      expect(own?.values.length).toBe(name.startsWith('masked') ? 8 : 3);
      own?.values.forEach((values, i) => expectBitwise(values, apart?.values[i] ?? []));
    }
  });

  it('sums the gradient of its input beside computing that of its weight', () => {
    for (const { heads } of ranks) {
      for (const name of wholeHeads) {
        const { own, apart } = heads[name] ?? {};
        expect(own?.order.slice(0, 3)).toEqual(['backward', 'weight gradient', 'wait for allReduce']);
        expect(apart?.order.slice(0, 4)).toEqual(['backward', 'weight gradient', 'backward', 'wait for allReduce']);
      }
      for (const name of cutHeads)
        expect(heads[name]?.own.order.slice(0, 4)).toEqual(['backward', 'wait for allGather', 'weight gradient', 'wait for reduceScatter']);
    }
  });
});

describe('a GPT model on two ranks against one', () => {
  it.each(['plain', 'sequence'] as const)('%s: losses, logits and all gradients are close', (name) => {
    for (const { models } of ranks) {
      expectRelativeL2(models[name].sharded.losses, models[name].whole.losses, close);
      expectRelativeL2(models[name].sharded.logits, models[name].whole.logits, close);
    }
    expectCloseTensors(
      ranks.map(({ models }) => models[name].sharded.grads),
      ranks[0]?.models[name].whole.grads,
    );
  });

  it('a step takes four all-reduces a layer, two for the embedding and the head, and two for the loss', () => {
    for (const { models } of ranks) expect(models.plain.sharded.counts.allReduce).toBe(4 * 2 + 2 + 2);
  });
});
