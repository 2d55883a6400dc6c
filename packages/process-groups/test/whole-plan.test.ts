import { type WholeSink, gatherWhole, initializeModelParallel } from '@megatron-ts/process-groups';
import { Parameter } from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';
import { type HeldParameter, planWhole } from '../src/whole-plan.ts';
import { sentenceOf } from './ranks/sentence-of.ts';

function rows(start: number, count: number, dtype: HeldParameter['dtype'] = 'f32'): HeldParameter {
  const rectangles = [{ globalOffset: [start, 0], localOffset: [0, 0], extent: [count, 2] }];
  return { name: 'w', dtype, logical: [{ suffix: '', globalShape: [5, 2], rectangles }] };
}

describe('the plan of whole tensors', () => {
  it('takes each part from the lowest rank that holds it, and nothing from a rank that holds none', () => {
    const plan = planWhole([[], [rows(0, 3)], [rows(3, 2)], [rows(0, 3)], [rows(3, 2)], [rows(5, 0)]]);
    expect(plan).toMatchObject([{ form: { name: 'w', shape: [5, 2], dtype: 'f32' }, pieces: [{ rank: 1 }, { rank: 2 }] }]);
    expect(plan[0]?.pieces).toHaveLength(2);
  });

  it('refuses parts that leave something out or lie over each other, and tensors that differ', () => {
    expect(sentenceOf(() => planWhole([[rows(0, 3)]]))).toMatch(/^INCOMPLETE gatherWhole: the ranks hold 6 of the 10 elements of "w"/);
    expect(sentenceOf(() => planWhole([[rows(0, 3)], [rows(2, 3)]]))).toMatch(/^INCOMPLETE gatherWhole: the ranks hold 12 of the 10/);
    expect(sentenceOf(() => planWhole([[rows(0, 3)], [rows(3, 2, 'bf16')]]))).toBe(
      'LAYOUT_MISMATCH gatherWhole: "w" is bf16 [5, 2] on rank 1 but f32 [5, 2] before it. Build the model with the same options on every rank.',
    );
  });
});

describe('gatherWhole on one rank', () => {
  it('refuses a name that no rank holds, after the sink has begun, and ends it', async () => {
    await using ctx = await initializeModelParallel({ seed: 1 });
    const own = new Parameter({ shape: [2] });
    own.initialize('own', ctx);
    const calls: string[] = [];
    const sink: WholeSink = {
      begin: (forms) => [...forms.map(({ name }) => name), 'other'],
      take: ({ name }) => void calls.push(name),
      end: () => void calls.push('end'),
      abort: () => void calls.push('abort'),
    };
    expect(sentenceOf(() => gatherWhole(new Map([['own', own]]), { ctx, sink }))).toMatch(
      /^INCOMPLETE gatherWhole: no rank holds a tensor "other"/,
    );
    expect(calls).toEqual(['abort']);
    own.dispose();
  });
});
