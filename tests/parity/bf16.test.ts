import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GPTConfig } from '@megatron-ts/core';
import { expectClose, runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checks, f32Limits, type Limits } from './checks.ts';
import { readRun, type Run } from './recording.ts';
import { alone, type Layout, ranksFrom, type RunPlan, sizeOf, tiny } from './run-plan.ts';

interface Walk {
  readonly text: string;
  readonly layout: Layout;
  /** Further options of the model. */
  readonly model: Partial<GPTConfig<boolean>>;
}

const walks: readonly Walk[] = [
  { text: '2·1·1', layout: { data: 2, pipeline: 1, tensor: 1 }, model: {} },
  { text: '1·2·1', layout: { data: 1, pipeline: 2, tensor: 1 }, model: {} },
  { text: '1·1·2', layout: { data: 1, pipeline: 1, tensor: 2 }, model: {} },
  { text: '1·1·2 with a cut sequence', layout: { data: 1, pipeline: 1, tensor: 2 }, model: { sequenceParallel: true } },
];
const single: Walk = { text: '1·1·1', layout: alone, model: {} };

interface Family {
  readonly family: string;
  readonly dtypes: Pick<GPTConfig, 'paramDType' | 'computeDType'>;
  /** How far tensor parallelism, which rounds partial sums, may be from one rank; and any layout from f32. */
  readonly limits: Limits;
  readonly fromF32: number;
}

const families: readonly Family[] = [
  {
    family: 'bf16 products over f32 storage',
    dtypes: { computeDType: 'bf16' },
    limits: { gradient: 3e-2, zeroGradient: 1e-4, gradientNorm: 3e-3, loss: 3e-4 },
    fromF32: 3e-4,
  },
  {
    family: 'bf16 storage',
    dtypes: { paramDType: 'bf16' },
    limits: { gradient: 5e-2, zeroGradient: 1e-3, gradientNorm: 1e-2, loss: 1e-3 },
    fromF32: 2e-3,
  },
];

const folder = mkdtempSync(join(tmpdir(), 'megatron-bf16-'));

function plansOf({ family, dtypes }: Family): RunPlan[] {
  const planOf = ({ text, layout, model }: Walk, first: number): RunPlan => ({
    ...tiny,
    model: { ...tiny.model, ...dtypes, ...model } as GPTConfig,
    name: `${family} ${text}`,
    layout,
    ranks: ranksFrom(first, sizeOf(layout)),
    clipGradNorm: 0.5,
  });
  const grouped = { ...planOf(single, 1), name: `${family} two groups`, accumulationGroups: 2 };
  return [planOf(single, 0), grouped, ...walks.map((walk) => planOf(walk, 0))];
}

const f32: Family = { family: 'f32', dtypes: {}, limits: f32Limits, fromF32: 0 };

beforeAll(async () => {
  const plans = [...families.flatMap(plansOf), ...plansOf(f32).slice(0, 1)];
  const env = { MEGATRON_TIMEOUT_MS: '60000', MEGATRON_SLOW_MS: '20000' };
  await runRanks(2, new URL('ranks/walk-runs.ts', import.meta.url), 'walkRuns', { args: [folder, plans], env, timeoutMs: 240_000 });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function runOf(family: string, text: string, size = 1): Run {
  return readRun(folder, { name: `${family} ${text}`, size });
}

describe.each(families)('$family', ({ family, limits, fromF32 }) => {
  const one = () => runOf(family, single.text);

  it('learns as f32 does', () => {
    const [{ losses } = { losses: new Float64Array(0) }] = one();
    const [exact] = runOf('f32', single.text);
    expectClose(losses, exact?.losses ?? [], { rtol: fromF32, because: 'numbers are rounded to 8 bits' });
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) - 0.3);
  });

  it.each(walks)(
    'on $text: pipelines have the bits of one rank, data parallelism those of two groups, tensor parallelism is close',
    ({ text, layout }) => {
      const { data, tensor } = layout;
      const sameBits = tensor > 1 ? undefined : data > 1 ? runOf(family, 'two groups') : one();
      const comparison = { run: runOf(family, text, sizeOf(layout)), alone: one(), sameBits, limits };
      for (const check of Object.values(checks)) check(comparison);
    },
  );
});
