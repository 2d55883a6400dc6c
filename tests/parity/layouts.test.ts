import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checks, type CheckName } from './checks.ts';
import { readRun, type Run } from './recording.ts';
import { alone, dropouts, type Layout, layoutText, ranksFrom, type RunPlan, sizeOf, tiny, walks } from './run-plan.ts';

const size = 8;
const everywhere = { data: 2, pipeline: 2, tensor: 2 };
const maxNorm = 0.5;
const variants: readonly { readonly variant: string; readonly change: Partial<RunPlan> }[] = [
  { variant: 'without clipping', change: {} },
  { variant: `clipped to ${maxNorm}`, change: { clipGradNorm: maxNorm } },
  { variant: 'with dropout', change: { model: { ...tiny.model, ...dropouts } } },
];
const rows = variants.flatMap(({ variant }) => walks.map(({ layout }) => ({ variant, layout, text: layoutText(layout) })));

function plansFor({ variant, change }: (typeof variants)[number]): RunPlan[] {
  const planOf = (layout: Layout, first: number): RunPlan => ({
    ...tiny,
    ...change,
    name: nameOf(layoutText(layout), variant),
    layout,
    ranks: ranksFrom(first, sizeOf(layout)),
  });
  const grouped = { ...planOf(alone, 1), name: nameOf('two groups', variant), accumulationGroups: 2 };
  return [planOf(alone, 0), grouped, ...walks.map(({ layout, first }) => planOf(layout, first))];
}

function nameOf(text: string, variant: string): string {
  return `${text} ${variant}`;
}

const long: RunPlan = {
  ...tiny,
  name: 'sixty steps',
  layout: everywhere,
  ranks: ranksFrom(0, size),
  clipGradNorm: maxNorm,
  steps: 60,
  gradientsAt: [],
};
const folder = mkdtempSync(join(tmpdir(), 'megatron-parity-'));

beforeAll(async () => {
  const plans = [...variants.flatMap(plansFor), long];
  const env = { MEGATRON_TIMEOUT_MS: '60000', MEGATRON_SLOW_MS: '20000' };
  await runRanks(size, new URL('ranks/walk-runs.ts', import.meta.url), 'walkRuns', { args: [folder, plans], env, timeoutMs: 240_000 });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function runOf(text: string, variant: string, ranks = 1): Run {
  return readRun(folder, { name: nameOf(text, variant), size: ranks });
}

/** The run whose bits a layout must have. */
function sameBitsAs({ data, pipeline, tensor }: Layout, variant: string): Run | undefined {
  // Pipelines keep the order of microbatches.
  if (pipeline > 1 && tensor > 1) return runOf(layoutText({ data, pipeline: 1, tensor }), variant, data * tensor);
  if (tensor > 1) return undefined;
  // Data parallelism adds microbatches rank by rank, as two groups on one rank do.
  return runOf(data > 1 ? 'two groups' : layoutText(alone), variant);
}

/** The run of a layout beside one rank alone. */
function comparisonOf({ layout, variant }: (typeof rows)[number]) {
  const run = runOf(layoutText(layout), variant, sizeOf(layout));
  return { run, alone: runOf(layoutText(alone), variant), sameBits: sameBitsAs(layout, variant) };
}

const sentences: readonly (readonly [string, CheckName])[] = [
  ['begins with slices of the same whole tensors, bit for bit', 'initialValues'],
  ['has the gradients of one rank: close, bitwise where the order of sums is promised', 'gradients'],
  ['has the same gradient norm at each step on all ranks: close, bitwise where promised', 'gradientNorm'],
  ['ends with the same bits in all copies of parameters and moments', 'replicas'],
  ['has the loss curve of one rank: within 1e-5, bitwise where promised', 'lossCurve'],
];

describe('one rank alone', () => {
  it('learns, with a gradient norm that is clipped at every step where it is clipped', () => {
    const curves = variants.map(({ variant }) => {
      const [{ losses, gradNorms } = { losses: [], gradNorms: [] }] = runOf(layoutText(alone), variant);
      expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) - 0.3);
      for (const norm of gradNorms) expect(norm).toBeGreaterThan(maxNorm);
      return losses;
    });
    expect(curves[0]).not.toEqual(curves[1]);
  });

  it.each(variants)('gives close numbers when its microbatches are summed in two groups, $variant', ({ variant }) => {
    const pair = { run: runOf('two groups', variant), alone: runOf(layoutText(alone), variant) };
    for (const check of Object.values(checks)) check(pair);
  });
});

describe.each(rows)('$text, $variant', (row) => {
  it.each(sentences)('%s', (_, name) => checks[name](comparisonOf(row)));
});

describe('native memory', () => {
  it('is the same after the tenth and after the sixtieth step on every rank of 2·2·2', () => {
    for (const { liveBytes } of readRun(folder, { name: long.name, size })) {
      expect(liveBytes[9]).toBeGreaterThan(0);
      expect(liveBytes[59]).toBe(liveBytes[9]);
    }
  });

  it('holds nothing of a run once model and optimizer are disposed of', () => {
    for (const { text, variant, layout } of rows)
      for (const { leftBytes } of runOf(text, variant, sizeOf(layout))) expect(leftBytes, `${text}, ${variant}`).toBe(0);
  });
});
