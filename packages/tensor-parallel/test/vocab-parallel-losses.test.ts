import { expectBitwise, expectClose, runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { randomFrom } from '../../tensor/test/random-numbers.ts';
import type { LossCase, Losses, LossRun } from './ranks/losses.ts';

/** A case that nobody thought of, with a vocabulary that seldom divides. */
function randomCase(seed: number): LossCase {
  const random = randomFrom(seed);
  const [vocabSize, tokens] = [4 + Math.floor(40 * random()), 1 + Math.floor(9 * random())];
  const own = <T>(share: number, value: T) => (random() < share ? value : undefined);
  const ignoreIndex = own(0.7, random() < 0.5 ? -100 : Math.floor(random() * vocabSize));
  const options = { labelSmoothing: own(0.8, random()), zLoss: own(0.7, 0.1 * random()), ignoreIndex };
  const target = () => (ignoreIndex !== undefined && random() < 0.3 ? ignoreIndex : Math.floor(random() * vocabSize));
  const targets = Array.from({ length: tokens }, target);
  const multiple = 1 + Math.floor(5 * random());
  const isFilled = [2, 4].every((size) => Math.ceil(vocabSize / size / multiple) * multiple * (size - 1) < vocabSize);
  const vocabMultiple = isFilled && random() < 0.6 ? multiple : undefined;
  return { vocabSize, vocabMultiple, tokens, dtype: random() < 0.3 ? 'bf16' : 'f32', options, isEven: random() < 0.5, targets };
}

const cases = Array.from({ length: 40 }, (_, i) => randomCase(i + 1));
let ranks: Losses[];

beforeAll(async () => {
  ranks = await runRanks<Losses>(4, new URL('ranks/losses.ts', import.meta.url), 'losses', { args: [cases] });
}, 120_000);

const otherOrder = 'the sums over the vocabulary are those of the ranks, one after the other';

function expectNear(actual: Float32Array, expected: Float32Array, relative = 1e-6): void {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  expectClose(actual, expected, { atol: relative * largest, because: otherOrder });
}

describe.each([2, 4] as const)(
  'losses of a vocabulary over %i ranks, in 40 random cases of smoothing, z-loss and ignored targets',
  (size) => {
    const each = (compare: (own: LossRun, whole: LossRun, one: LossCase) => void) =>
      ranks.forEach(({ runs }) => cases.forEach((one, i) => compare(runs[size][i] as LossRun, runs[1][i] as LossRun, one)));

    it('are close to those of one rank, and so are the gradients of the logits', () => {
      each((own, whole, { dtype }) => {
        expectNear(own.losses, whole.losses);
        expectNear(own.logitGrads, whole.logitGrads, dtype === 'bf16' ? 2 ** -8 : 1e-6);
      });
    });

    it('are close in the head that never holds all logits, with the gradients of its input and of its weight', () => {
      each((own, whole) => {
        expectNear(own.fused, whole.fused);
        expectNear(own.hiddenGrads, whole.hiddenGrads, 3e-6);
      });
      cases.forEach((_, i) => {
        const rows = ranks.slice(0, size).flatMap(({ runs }) => [...(runs[size][i] as LossRun).weightGrads]);
        expectNear(Float32Array.from(rows), (ranks[0]?.runs[1][i] as LossRun).weightGrads, 3e-6);
      });
    });

    it('have the same bits on every rank that shares them', () => {
      cases.forEach((_, i) => {
        const [first, ...others] = ranks.slice(0, size).map(({ runs }) => runs[size][i] as LossRun);
        for (const other of others) {
          expectBitwise(other.losses, first?.losses ?? []);
          expectBitwise(other.fused, first?.fused ?? []);
        }
      });
    });
  },
);

describe('the random cases', () => {
  it('ignore tokens, smooth, and leave some vocabularies whole, others uneven and others padded', () => {
    expect(cases.filter(({ options, targets }) => targets.includes(options.ignoreIndex ?? -1)).length).toBeGreaterThan(5);
    expect(cases.filter(({ options }) => options.labelSmoothing !== undefined).length).toBeGreaterThan(20);
    expect(new Set(cases.map(({ vocabSize }) => vocabSize % 4))).toEqual(new Set([0, 1, 2, 3]));
    expect(
      cases.filter(({ vocabSize, vocabMultiple }) => vocabMultiple !== undefined && vocabSize % (4 * vocabMultiple) > 0).length,
    ).toBeGreaterThan(5);
    expect(new Set(cases.map(({ dtype }) => dtype)).size).toBe(2);
  });
});
