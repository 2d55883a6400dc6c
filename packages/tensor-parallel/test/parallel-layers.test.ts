import { expectBitwise, expectRelativeL2, runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Both } from './ranks/observe.ts';
import type { ParallelLayers } from './ranks/parallel-layers.ts';
import { wholeTensors } from './whole-tensors.ts';

const size = 2;
let ranks: ParallelLayers[];

beforeAll(async () => {
  ranks = await runRanks<ParallelLayers>(size, new URL('ranks/parallel-layers.ts', import.meta.url), 'parallelLayers', { args: [size] });
}, 120_000);

const close = { limit: 1e-6, because: 'tensor parallelism adds the products in another order' };

function layer(name: keyof ParallelLayers['linear']): Both[] {
  return ranks.map(({ linear }) => linear[name]);
}

/** Rows of `width` numbers of each rank side by side. */
function beside(parts: readonly Float32Array[], width: number): Float32Array {
  const rows = (parts[0]?.length ?? 0) / width;
  const whole = new Float32Array(rows * width * parts.length);
  for (let row = 0; row < rows; row++)
    parts.forEach((part, rank) => whole.set(part.subarray(row * width, (row + 1) * width), (row * parts.length + rank) * width));
  return whole;
}

function chained(parts: readonly Float32Array[]): Float32Array {
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

function expectSameWeights(observed: readonly Both[]): void {
  const whole = wholeTensors(observed.slice(0, 1).map((both) => both.whole.weights));
  const weights = wholeTensors(observed.map(({ sharded }) => sharded.weights));
  for (const [name, values] of weights) expectBitwise(values, whole.get(name) ?? []);
  const wholeGrads = wholeTensors(observed.slice(0, 1).map((both) => both.whole.grads));
  const grads = wholeTensors(observed.map(({ sharded }) => sharded.grads));
  for (const [name, values] of grads) expectRelativeL2(values, wholeGrads.get(name) ?? [], close);
}

describe('parallel layers against the same layer on one rank', () => {
  it('weights begin with the same bits and weight gradients are close', () => {
    for (const name of ['column', 'gathered', 'row', 'scattered', 'sequence'] as const) expectSameWeights(layer(name));
  });

  it('a column-parallel layer gives each rank its columns and sums the gradient of the input', () => {
    const [first] = layer('column');
    expectRelativeL2(
      beside(
        layer('column').map(({ sharded }) => sharded.output),
        10,
      ),
      first?.whole.output ?? [],
      close,
    );
    for (const { sharded, whole } of layer('column')) {
      expectRelativeL2(sharded.inputGrad, whole.inputGrad, close);
      expect([sharded.forward.allReduce, sharded.backward.allReduce]).toEqual([0, 1]);
    }
  });

  it('a gathered output is whole on every rank', () => {
    for (const { sharded, whole } of layer('gathered')) {
      expectRelativeL2(sharded.output, whole.output, close);
      expectRelativeL2(sharded.inputGrad, whole.inputGrad, close);
      expect([sharded.forward.allGather, sharded.backward.allReduce]).toEqual([1, 1]);
    }
  });

  it('a row-parallel layer sums the output and adds its bias once', () => {
    const [first] = layer('row');
    expectRelativeL2(
      beside(
        layer('row').map(({ sharded }) => sharded.inputGrad),
        10,
      ),
      first?.whole.inputGrad ?? [],
      close,
    );
    for (const { sharded, whole } of layer('row')) {
      expectRelativeL2(sharded.output, whole.output, close);
      expect([sharded.forward.allReduce, sharded.backward.allReduce]).toEqual([1, 0]);
    }
  });

  it('a row-parallel layer cuts an input that is whole', () => {
    for (const { sharded, whole } of layer('scattered')) {
      expectRelativeL2(sharded.output, whole.output, close);
      expectRelativeL2(sharded.inputGrad, whole.inputGrad, close);
      expect([sharded.forward.allReduce, sharded.backward.allGather]).toEqual([1, 1]);
    }
  });

  it('under sequence parallelism each rank has its rows, at one gather and one reduce-scatter each way, and a second gather of the input that is not saved', () => {
    const [first] = layer('sequence');
    expectRelativeL2(chained(layer('sequence').map(({ sharded }) => sharded.output)), first?.whole.output ?? [], close);
    expectRelativeL2(chained(layer('sequence').map(({ sharded }) => sharded.inputGrad)), first?.whole.inputGrad ?? [], close);
    for (const { sharded } of layer('sequence'))
      for (const [{ allReduce, allGather, reduceScatter }, again] of [[sharded.forward, 0] as const, [sharded.backward, 1] as const])
        expect([allReduce, allGather, reduceScatter]).toEqual([0, 1 + again, 1]);
  });
});

describe('a vocabulary that does not divide by the ranks', () => {
  it('the embedding and its gradient are the same bits as on one rank', () => {
    for (const { vocabulary } of ranks) expectBitwise(vocabulary.sharded.rows, vocabulary.whole.rows);
    const whole = wholeTensors(ranks.slice(0, 1).map(({ vocabulary }) => vocabulary.whole.embedding));
    const sharded = wholeTensors(ranks.map(({ vocabulary }) => vocabulary.sharded.embedding));
    expectBitwise(sharded.get('weight') ?? [], whole.get('weight') ?? []);
  });

  it('cross entropy is close, at two all-reduces forward and none backward', () => {
    for (const { vocabulary } of ranks) {
      expectRelativeL2(vocabulary.sharded.losses, vocabulary.whole.losses, close);
      expectRelativeL2(vocabulary.sharded.logitGrads, vocabulary.whole.logitGrads, close);
      expect(vocabulary.sharded.counts).toEqual([2, 0]);
    }
  });

  it('gathered logits are the whole ones, bit for bit', () => {
    for (const { vocabulary } of ranks) expectBitwise(vocabulary.sharded.gathered, vocabulary.whole.gathered);
  });
});
