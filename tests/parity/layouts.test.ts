import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checks, type CheckName } from './checks.ts';
import { readRun, type Run } from './recording.ts';
import { alone, layoutText, ranksFrom, type RunPlan, sizeOf, tiny, walks } from './run-plan.ts';

const size = 8;
const everywhere = { data: 2, pipeline: 2, tensor: 2 };
// The norm of the untrained model is near 2.
const clippings = [{ clipping: 'without clipping' }, { clipping: 'clipped to 0.5', clipGradNorm: 0.5 }];
const rows = clippings.flatMap((clipping) => walks.map(({ layout }) => ({ ...clipping, layout, text: layoutText(layout) })));

function plansFor({ clipping, clipGradNorm }: (typeof clippings)[number]): RunPlan[] {
  const clip = clipGradNorm === undefined ? {} : { clipGradNorm };
  const planOf = (layout: RunPlan['layout'], first: number): RunPlan => ({
    ...tiny,
    ...clip,
    name: nameOf(layoutText(layout), clipping),
    layout,
    ranks: ranksFrom(first, sizeOf(layout)),
  });
  const grouped = { ...planOf(alone, 1), name: nameOf('two groups', clipping), accumulationGroups: 2 };
  return [planOf(alone, 0), grouped, ...walks.map(({ layout, first }) => planOf(layout, first))];
}

function nameOf(text: string, clipping: string): string {
  return `${text} ${clipping}`;
}

const long: RunPlan = {
  ...tiny,
  name: 'sixty steps',
  layout: everywhere,
  ranks: ranksFrom(0, size),
  clipGradNorm: 0.5,
  steps: 60,
  gradientsAt: [],
};
const folder = mkdtempSync(join(tmpdir(), 'megatron-parity-'));

beforeAll(async () => {
  const plans = [...clippings.flatMap(plansFor), long];
  const env = { MEGATRON_TIMEOUT_MS: '60000', MEGATRON_SLOW_MS: '20000' };
  await runRanks(size, new URL('ranks/walk-runs.ts', import.meta.url), 'walkRuns', { args: [folder, plans], env, timeoutMs: 240_000 });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function runOf(text: string, clipping: string, ranks = 1): Run {
  return readRun(folder, { name: nameOf(text, clipping), size: ranks });
}

/** The run of a layout beside one rank alone, and beside the run whose bits it must have. */
function comparisonOf({ layout, clipping }: (typeof rows)[number]) {
  const own = runOf(layoutText(layout), clipping, sizeOf(layout));
  const whole = runOf(layoutText(alone), clipping);
  // Pipelines keep the order of microbatches; data parallelism adds them rank by rank, as two groups on one rank do.
  const sameBits = layout.tensor > 1 ? undefined : layout.data > 1 ? runOf('two groups', clipping) : whole;
  return { run: own, alone: whole, sameBits };
}

const sentences: Record<CheckName, string> = {
  initialValues: 'begins with slices of the same whole tensors, bit for bit',
  gradients: 'has the gradients of one rank: close, bitwise where the order of sums is promised',
  gradientNorm: 'has the same gradient norm at each step on all ranks: close, bitwise where promised',
  replicas: 'ends with the same bits in all copies of parameters and moments',
  lossCurve: 'has the loss curve of one rank: within 1e-5, bitwise where promised',
};

describe.each(clippings)('one rank alone, $clipping', ({ clipping, clipGradNorm = Number.POSITIVE_INFINITY }) => {
  it('learns, and is clipped at every step or at none', () => {
    const [recording] = runOf(layoutText(alone), clipping);
    const { losses = [], gradNorms = [] } = recording ?? {};
    expect(losses[0]).toBeCloseTo(Math.log(64), 1);
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) - 0.3);
    for (const norm of gradNorms) expect(norm > 0.5).toBe(clipGradNorm === 0.5 || norm > 0.5);
  });

  it('gives close numbers when its microbatches are summed in two groups', () => {
    const pair = { run: runOf('two groups', clipping), alone: runOf(layoutText(alone), clipping) };
    for (const check of Object.values(checks)) check(pair);
  });
});

describe.each(rows)('$text, $clipping', (row) => {
  it.each(Object.keys(checks) as CheckName[])('%s', (name) => {
    expect(() => checks[name](comparisonOf(row)), sentences[name]).not.toThrow();
  });
});

describe('native memory', () => {
  it('is the same after the tenth and after the sixtieth step on every rank of 2·2·2', () => {
    for (const { liveBytes } of readRun(folder, { name: long.name, size })) {
      expect(liveBytes[9]).toBeGreaterThan(0);
      expect(liveBytes[59]).toBe(liveBytes[9]);
    }
  });

  it('holds nothing of a run once model and optimizer are disposed of', () => {
    for (const { text, clipping, layout } of rows)
      for (const { leftBytes } of runOf(text, clipping, sizeOf(layout))) expect(leftBytes, `${text}, ${clipping}`).toBe(0);
  });
});
