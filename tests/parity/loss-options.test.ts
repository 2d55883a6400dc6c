import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GPTModel, initializeModelParallel, oneForwardOneBackward, runSchedule, type Tensor, tensor } from '@megatron-ts/core';
import { expectBitwise, runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checks } from './checks.ts';
import { tokensBelow } from './ranks/train.ts';
import { readRun, type Run } from './recording.ts';
import { alone, type Layout, layoutText, ranksFrom, type RunPlan, sizeOf, tiny } from './run-plan.ts';

const size = 4;
const blank = 32; // the space between words, so that samples differ in how many tokens count
const vocabSize = 61; // divides by no number of ranks
const model = { ...tiny.model, vocabSize, labelSmoothing: 0.1, zLoss: 1e-2, ignoreIndex: blank };
const walks: readonly Layout[] = [
  { data: 2, pipeline: 1, tensor: 1 },
  { data: 1, pipeline: 2, tensor: 1 },
  { data: 1, pipeline: 1, tensor: 2 },
  { data: 1, pipeline: 1, tensor: 4 },
  { data: 2, pipeline: 1, tensor: 2 },
  { data: 1, pipeline: 2, tensor: 2 },
];
const kinds = [
  { kind: 'from logits', lossInForward: false },
  { kind: 'without all logits', lossInForward: true },
];
const folder = mkdtempSync(join(tmpdir(), 'megatron-losses-'));

function plansOf({ kind, lossInForward }: (typeof kinds)[number]): RunPlan[] {
  const planOf = (layout: Layout, first: number): RunPlan => ({
    ...tiny,
    model,
    steps: 3,
    gradientsAt: [1, 3],
    lossInForward,
    name: `${layoutText(layout)} ${kind}`,
    layout,
    ranks: ranksFrom(first, sizeOf(layout)),
  });
  const grouped = { ...planOf(alone, 1), name: `two groups ${kind}`, accumulationGroups: 2 };
  return [planOf(alone, 0), grouped, ...walks.map((layout) => planOf(layout, 0))];
}

beforeAll(async () => {
  const env = { MEGATRON_TIMEOUT_MS: '60000', MEGATRON_SLOW_MS: '20000' };
  const args = [folder, kinds.flatMap(plansOf)];
  await runRanks(size, new URL('ranks/walk-runs.ts', import.meta.url), 'walkRuns', { args, env, timeoutMs: 240_000 });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const runOf = (text: string, kind: string, ranks = 1): Run => readRun(folder, { name: `${text} ${kind}`, size: ranks });

describe.each(kinds)('losses with smoothing, z-loss and ignored targets, $kind', ({ kind }) => {
  it.each(walks.map((layout) => ({ text: layoutText(layout), layout })))(
    'train on $text as on one rank: pipelines have its bits, data parallelism those of two groups, tensor parallelism is close',
    ({ text, layout: { data, tensor: width, ...layout } }) => {
      const sameBits = width > 1 ? undefined : runOf(data > 1 ? 'two groups' : layoutText(alone), kind);
      const run = runOf(text, kind, sizeOf({ data, tensor: width, ...layout }));
      for (const check of Object.values(checks)) check({ run, alone: runOf(layoutText(alone), kind), sameBits });
    },
  );

  it('are the same bits in both ways for the first step, and others than plain ones', () => {
    const [first, other] = [runOf(layoutText(alone), kind), runOf(layoutText(alone), kinds[0]?.kind ?? '')];
    expectBitwise(first[0]?.losses.subarray(0, 1) ?? [], other[0]?.losses.subarray(0, 1) ?? []);
    expect(tokensBelow(vocabSize).filter((token) => token === blank).length).toBeGreaterThan(100);
  });
});

describe('microbatches without a token that counts', () => {
  const row = (start: number) =>
    Int32Array.from({ length: 16 }, (_, i) => (start + 7 * i) % vocabSize).map((token) => (token === blank ? 1 : token));
  const blanks = new Int32Array(16).fill(blank);

  /** Loss, count and gradients of one step. */
  async function stepOf(targets: readonly Int32Array[]) {
    await using ctx = await initializeModelParallel({ seed: 3 });
    const gpt = new GPTModel({ ...model, ctx }).initialize(ctx);
    const schedule = oneForwardOneBackward({ numStages: 1, numMicrobatches: targets.length });
    const { loss, numTokens } = ctx.step(0, () => {
      const microbatches = targets.map((own, i) => ({ input: tensor(row(i), [16, 1]), targets: tensor(own, [16, 1]) as Tensor }));
      return runSchedule({ ctx, schedule, chunks: [gpt], microbatches, lossOf: (output, { targets: to }) => gpt.lossOf(output, to) });
    });
    const grads = gpt
      .parameters()
      .flatMap(({ grad, tiedTo }) => (tiedTo === undefined ? [(grad as Tensor).toArray() as Float32Array] : []));
    gpt.dispose();
    return { loss, numTokens, grads };
  }

  it('change nothing beside others, and alone give zeros, not NaN', async () => {
    const [one, beside, none] = [await stepOf([row(5)]), await stepOf([row(5), blanks]), await stepOf([blanks])];
    expect([one.numTokens, beside.numTokens, none.numTokens, none.loss]).toEqual([16, 16, 0, 0]);
    expect(beside.loss).toBe(one.loss);
    beside.grads.forEach((grad, i) => expectBitwise(grad, one.grads[i] ?? []));
    for (const grad of none.grads) expect(grad.every((value) => value === 0)).toBe(true);
  });
});
