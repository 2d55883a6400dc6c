import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GPTModel, initializeModelParallel, oneForwardOneBackward, runSchedule, type Tensor, tensor } from '@megatron-ts/core';
import { expectBitwise, expectClose, runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checks } from './checks.ts';
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
  { kind: 'from logits', lossInForward: false, padding: {} },
  { kind: 'without all logits', lossInForward: true, padding: {} },
  { kind: 'padded, without all logits', lossInForward: true, padding: { vocabMultiple: 8 } },
];
const folder = mkdtempSync(join(tmpdir(), 'megatron-losses-'));

function plansOf({ kind, lossInForward, padding }: (typeof kinds)[number]): RunPlan[] {
  const planOf = (layout: Layout, first: number): RunPlan => ({
    ...tiny,
    model: { ...model, ...padding },
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

/** One rank that pads nothing. */
const plainly = (lossInForward: boolean): Run => runOf(layoutText(alone), kinds[lossInForward ? 1 : 0]?.kind ?? '');

describe.each(kinds)('losses with smoothing, z-loss and ignored targets, $kind', ({ kind, lossInForward, padding }) => {
  it.each(walks.map((layout) => ({ text: layoutText(layout), layout })))(
    'train on $text as on one rank: pipelines have its bits, data parallelism those of two groups, tensor parallelism is close',
    ({ text, layout }) => {
      const { data, tensor: width } = layout;
      const sameBits = width > 1 ? undefined : runOf(data > 1 ? 'two groups' : layoutText(alone), kind);
      const run = runOf(text, kind, sizeOf(layout));
      for (const check of Object.values(checks)) check({ run, alone: plainly(lossInForward), sameBits });
    },
  );

  it('begin with one loss, bit for bit, whether there are logits or not', () => {
    const [first, other] = [runOf(layoutText(alone), kind), plainly(!lossInForward)].map(([recording]) => recording?.losses.subarray(0, 1));
    if (Object.keys(padding).length === 0) expectBitwise(first ?? [], other ?? []);
    else expectClose(first ?? [], other ?? [], { rtol: 1e-6, because: 'a product over more columns is cut elsewhere' });
  });

  it('leave what pads the vocabulary zero, however long one trains', () => {
    for (const layout of [alone, ...walks])
      for (const { final, means } of runOf(layoutText(layout), kind, sizeOf(layout)))
        for (const { name, logical, shape, values } of [...final, ...means].filter((held) => held.name.endsWith('wordEmbeddings.weight'))) {
          const [{ extent } = { extent: [0] }] = logical[0]?.rectangles ?? [];
          expect(shape[0]).toBe('vocabMultiple' in padding ? Math.ceil(vocabSize / layout.tensor / 8) * 8 : extent[0]);
          expect(
            values.subarray((extent[0] ?? 0) * (shape[1] ?? 0)).every((value) => value === 0),
            name,
          ).toBe(true);
        }
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
