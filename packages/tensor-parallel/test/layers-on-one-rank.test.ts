import { type ParallelContext, initializeModelParallel, ProcessGroup } from '@megatron-ts/process-groups';
import { type AnyTensor, crossEntropy, linear, scope, tensor } from '@megatron-ts/tensor';
import {
  ColumnParallelLinear,
  copyToTensorParallelRegion,
  reduceFromTensorParallelRegion,
  RowParallelLinear,
  scatterToTensorParallelRegion,
  VocabParallelEmbedding,
  vocabParallelCrossEntropy,
  vocabRange,
} from '@megatron-ts/tensor-parallel';
import { expectBitwise } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let ctx: ParallelContext;

beforeAll(async () => {
  ctx = await initializeModelParallel();
});
afterAll(() => ctx.destroy());

/** A group seen from one of its ranks, for what needs no communication. */
function group(size: number, rank = 0): ProcessGroup {
  return new ProcessGroup({ name: 'tp', ranks: Array.from({ length: size }, (_, i) => i), rank, id: undefined });
}

function floats(x: AnyTensor): Float32Array {
  return x.toArray() as Float32Array;
}

describe('a group of one', () => {
  it('mappings return the very tensor', () => {
    scope(() => {
      const x = tensor([1, 2]);
      expect(copyToTensorParallelRegion(x, ctx.tp)).toBe(x);
      expect(scatterToTensorParallelRegion(x, ctx.tp)).toBe(x);
      expect(reduceFromTensorParallelRegion(x as AnyTensor, ctx.tp)).toBe(x);
    });
  });

  it('layers are ordinary layers, and their tensors are called replicated', () => {
    const up = new ColumnParallelLinear({ inputSize: 3, outputSize: 4, tpGroup: ctx.tp }).initialize(ctx);
    const down = new RowParallelLinear({ inputSize: 4, outputSize: 3, tpGroup: ctx.tp }).initialize(ctx);
    scope(() => {
      const x = tensor([1, 2, 3, 4, 5, 6], [2, 1, 3]);
      const y = up.call(x);
      expect(y.placement).toBe('replicated');
      expectBitwise(floats(y), floats(linear(x, up.weight as AnyTensor, up.bias as AnyTensor)));
      expect(down.call(y).shape).toEqual([2, 1, 3]);
    });
  });

  it('cross entropy is that of the whole vocabulary', () => {
    scope(() => {
      const logits = tensor([0.1, 2, -1, 3, 0.5, 0.25], [2, 3]);
      const targets = tensor(Int32Array.of(2, 0));
      expectBitwise(floats(vocabParallelCrossEntropy(logits as AnyTensor, targets, ctx.tp)), floats(crossEntropy(logits, targets)));
    });
  });
});

describe('what a parameter says of itself', () => {
  it('a column-parallel weight is cut by rows, part by part', () => {
    const { weight, bias } = new ColumnParallelLinear({ inputSize: 4, outputSize: 12, parts: ['q', 'k', 'v'], tpGroup: group(2, 1) });
    expect(weight.shape).toEqual([6, 4]);
    expect(weight.meta.shardedOver).toEqual(['tp']);
    expect(weight.meta.logical.map(({ suffix, globalShape, rectangles }) => [suffix, globalShape, rectangles])).toEqual(
      ['q', 'k', 'v'].map((part, i) => [part, [4, 4], [{ globalOffset: [2, 0], localOffset: [2 * i, 0], extent: [2, 4] }]]),
    );
    const rectangles = [{ globalOffset: [2], localOffset: [4], extent: [2] }];
    expect(bias?.meta.logical[2]).toEqual({ suffix: 'v', globalShape: [4], rectangles });
  });

  it('a row-parallel weight is cut by columns, and its bias is whole', () => {
    const { weight, bias } = new RowParallelLinear({ inputSize: 6, outputSize: 4, tpGroup: group(3, 2) });
    expect(weight.meta.logical[0]?.rectangles).toEqual([{ globalOffset: [0, 4], localOffset: [0, 0], extent: [4, 2] }]);
    expect([bias?.shape, bias?.meta.shardedOver, bias?.meta.gradPartialOver]).toEqual([[4], [], []]);
  });

  it('under sequence parallelism the gradient of a replicated bias is a summand', () => {
    const { bias } = new RowParallelLinear({ inputSize: 6, outputSize: 4, tpGroup: group(3), sequenceParallel: true });
    expect(bias?.meta.gradPartialOver).toEqual(['tp']);
  });

  it('the ranks of a vocabulary that does not divide hold all of it once', () => {
    const ranges = [0, 1, 2].map((rank) => vocabRange(11, group(3, rank)));
    expect(ranges).toEqual([
      { start: 0, end: 4, rows: 4 },
      { start: 4, end: 8, rows: 4 },
      { start: 8, end: 11, rows: 3 },
    ]);
    const { weight } = new VocabParallelEmbedding({ vocabSize: 11, hiddenSize: 2, tpGroup: group(3, 2) });
    expect(weight.meta.logical[0]).toEqual({
      suffix: '',
      globalShape: [11, 2],
      rectangles: [{ globalOffset: [8, 0], localOffset: [0, 0], extent: [3, 2] }],
    });
  });

  it('with a vocabMultiple all ranks have as many rows, and those behind the last token are zero and no part of the model', () => {
    const padded = { vocabSize: 11, vocabMultiple: 4 };
    expect([0, 1].map((rank) => vocabRange(padded, group(2, rank)))).toEqual([
      { start: 0, end: 8, rows: 8 },
      { start: 8, end: 11, rows: 8 },
    ]);
    const layer = new VocabParallelEmbedding({ ...padded, hiddenSize: 2, tpGroup: group(2, 1) }).initialize(ctx);
    expect(layer.weight.meta.logical[0]?.rectangles).toEqual([{ globalOffset: [8, 0], localOffset: [0, 0], extent: [3, 2] }]);
    const whole = new VocabParallelEmbedding({ vocabSize: 11, hiddenSize: 2, tpGroup: group(1) }).initialize(ctx);
    expectBitwise(floats(layer.weight), Float32Array.of(...floats(whole.weight).subarray(16), ...new Float32Array(10)));
  });

  it('values do not depend on the number of ranks', () => {
    const sizes = { inputSize: 5, outputSize: 12, parts: ['q', 'k', 'v'] };
    const build = (tpGroup: ProcessGroup) => new ColumnParallelLinear({ ...sizes, tpGroup }).initialize(ctx);
    const whole = floats(build(group(1)).weight);
    for (const rank of [0, 1]) {
      const own = floats(build(group(2, rank)).weight);
      for (const part of [0, 1, 2]) {
        const start = part * 20 + rank * 10;
        expectBitwise(own.subarray(part * 10, (part + 1) * 10), whole.subarray(start, start + 10));
      }
    }
  });
});

describe('refusals', () => {
  it('a size that does not divide says which would', () => {
    expect(() => new ColumnParallelLinear({ inputSize: 4096, outputSize: 11008, tpGroup: group(6) })).toThrow(
      'ColumnParallelLinear: outputSize 11008 is not divisible by tensorModelParallelSize 6. Use 1, 2, 4 or 8, or pad outputSize to 11010.',
    );
    expect(() => new RowParallelLinear({ inputSize: 7, outputSize: 4, tpGroup: group(2) })).toThrow(
      'RowParallelLinear: inputSize 7 is not divisible by tensorModelParallelSize 2. Use 1 or 7, or pad inputSize to 8.',
    );
  });

  it('sizes are whole numbers', () => {
    const empty = () => new ColumnParallelLinear({ inputSize: 0, outputSize: 4, tpGroup: group(1) });
    expect(empty).toThrow('ColumnParallelLinear: inputSize is 0.');
    expect(() => new VocabParallelEmbedding({ vocabSize: 2, hiddenSize: 4, tpGroup: group(3) })).toThrow('vocabSize 2 is less than');
  });

  it('a vocabMultiple that leaves a rank without a token is named, and so are logits that are not padded to it', () => {
    expect(() => vocabRange({ vocabSize: 300, vocabMultiple: 128 }, group(4))).toThrow(
      'vocabRange: vocabMultiple 128 gives each of 4 ranks 128 rows of a vocabulary of 300, and the last none of its tokens. Use a smaller',
    );
    expect(() => vocabRange({ vocabSize: 300, vocabMultiple: 0 }, group(4))).toThrow(
      'vocabMultiple is 0. Use a whole number of at least 1',
    );
    const lossOf = () =>
      vocabParallelCrossEntropy(tensor([1, 2, 3], [1, 3]) as AnyTensor, tensor(Int32Array.of(1)), ctx.tp, {
        vocabSize: 3,
        vocabMultiple: 4,
      });
    expect(() => scope(lossOf)).toThrow(
      'logits [1, 3] on rank 0 of 1 are not columns 0 to 3 of a vocabulary of 3, padded to 4 columns by vocabMultiple 4.',
    );
  });

  it('a gathered output cannot be cut along the sequence', () => {
    const options = { inputSize: 4, outputSize: 4, gatherOutput: true, sequenceParallel: true, tpGroup: group(2) };
    expect(() => new ColumnParallelLinear(options)).toThrow('Leave one of them out.');
  });

  it('tokens and targets outside the vocabulary are named', () => {
    const layer = new VocabParallelEmbedding({ vocabSize: 4, hiddenSize: 2, tpGroup: ctx.tp }).initialize(ctx);
    const rowsOf = (...tokens: number[]) => scope(() => layer.call(tensor(Int32Array.from(tokens))));
    expect(() => rowsOf(0, 4)).toThrow('token 4 at position 1 is not in a vocabulary of 4. Use 0 to 3.');
    const logits = () => tensor([1, 2], [1, 2]) as AnyTensor;
    const lossOf = (token: number) => vocabParallelCrossEntropy(logits(), tensor(Int32Array.of(token)), ctx.tp);
    expect(() => scope(() => lossOf(-1))).toThrow('token -1 at position 0');
    expect(() => scope(() => layer.call(tensor([1], [1, 1])))).toThrow('tokens are f32, not i32');
  });
});
