import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, evaluate, type Tensor, tensor } from '@megatron-ts/tensor';
import { expectBitwise, expectClose } from '@megatron-ts/testing';
import { BertModel, describedPlace, LlamaModel } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let ctx: ParallelContext;
beforeAll(async () => {
  ctx = await initializeModelParallel({ seed: 3 });
});
afterAll(() => ctx.destroy());

const sizes = { vocabSize: 19, maxSequenceLength: 8, hiddenSize: 16, numLayers: 2, numAttentionHeads: 4, initStd: 0.2 };

function column(...values: number[]): Tensor {
  return tensor(Int32Array.from(values), [values.length, 1]);
}

function floats(x: AnyTensor): Float32Array {
  return x.toArray() as Float32Array;
}

describe('packed documents', () => {
  it('have the losses that each has alone, positions counted from its start', () => {
    const model = new LlamaModel({ ctx, ...sizes, numKeyValueHeads: 2, ffnHiddenSize: 24 }).initialize(ctx);
    const [first, second] = [
      [3, 1, 4, 1, 5],
      [9, 2, 6],
    ] as const;
    const packed = evaluate(() => {
      const inputs = { segments: column(0, 0, 0, 0, 0, 1, 1, 1), positions: column(0, 1, 2, 3, 4, 0, 1, 2) };
      return floats(model.call(column(...first, ...second), column(...second, ...first), inputs));
    });
    const targets = [...second, ...first];
    const alone = [first, second].flatMap((words, i) =>
      evaluate(() => [...floats(model.call(column(...words), column(...(i === 0 ? targets.slice(0, 5) : targets.slice(5)))))]),
    );
    expectClose(packed, alone, { rtol: 2e-6, because: 'the sums over keys begin elsewhere' });
    model.dispose();
  });
});

describe('padding', () => {
  it('changes no bit of the logits of other tokens, whatever stands there', () => {
    const model = new BertModel({ ctx, ...sizes }).initialize(ctx);
    const logits = (...padding: number[]) =>
      evaluate(() => floats(model.logits(column(3, 1, 4, 1, 5, ...padding), { segments: column(0, 0, 0, 0, 0, -1, -1, -1) })));
    const [one, other] = [logits(9, 2, 6), logits(0, 0, 0)];
    const real = 5 * sizes.vocabSize;
    expectBitwise(one.subarray(0, real), other.subarray(0, real));
    expect(one.subarray(real)).not.toEqual(other.subarray(real));
    model.dispose();
  });

  it('and kinds of token of another shape are refused in one sentence, as are sizes that do not divide', () => {
    const model = new BertModel({ ctx, ...sizes }).initialize(ctx);
    const run = (inputs: Parameters<typeof model.call>[1]) => () => evaluate(() => model.call(column(1, 2, 3), inputs).shape);
    expect(run({ segments: column(0, 0) })).toThrow(/segments \[2, 1\] is not \[3, 1\]\. Give one number to each position/);
    expect(run({ tokenTypes: column(0, 0) })).toThrow(/tokenTypes \[2, 1\] are not of the shape of tokens \[3, 1\]\. Give a kind for each/);
    model.dispose();
    const build = (change: object) => () => new BertModel({ ctx: describedPlace({ tensorModelParallelSize: 4 }), ...sizes, ...change });
    expect(build({ numAttentionHeads: 2 })).toThrow('numAttentionHeads 2 is not divisible by tensorModelParallelSize 4.');
    expect(build({ ffnHiddenSize: 6 })).toThrow('outputSize 6 is not divisible by tensorModelParallelSize 4.');
    expect(build({ vocabSize: 3 })).toThrow('vocabSize 3 is less than tensorModelParallelSize 4. Use at most 3 ranks.');
    expect(build({ initStd: -1 })).toThrow('BertModel: initStd is -1. Use a number of at least 0, such as 0.02.');
  });
});
