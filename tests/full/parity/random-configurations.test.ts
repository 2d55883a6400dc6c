import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failedChecks } from '../../parity/checks.ts';
import { readRun } from '../../parity/recording.ts';
import { sizeOf } from '../../parity/run-plan.ts';
import { type RandomCase, randomCase } from './random-plans.ts';

// The seed is in the name of every test, so a failure can be had again.
const seed = Number(process.env['MEGATRON_TEST_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const cases = Array.from({ length: 36 }, (_, number) => randomCase(seed, number));
const folder = mkdtempSync(join(tmpdir(), 'megatron-random-'));

beforeAll(async () => {
  const plans = cases.flatMap(({ plan, single, grouped }) => [single, grouped, plan]);
  const module = new URL('../../parity/ranks/walk-runs.ts', import.meta.url);
  await runRanks(8, module, 'walkRuns', { args: [folder, plans], env: { MEGATRON_TIMEOUT_MS: '60000' }, timeoutMs: 280_000 });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function comparisonOf({ plan, single, grouped }: RandomCase) {
  const alone = readRun(folder, { name: single.name, size: 1 });
  const { data, tensor } = plan.layout;
  const sameBits = tensor > 1 ? undefined : data > 1 ? readRun(folder, { name: grouped.name, size: 1 }) : alone;
  return { run: readRun(folder, { name: plan.name, size: sizeOf(plan.layout) }), alone, sameBits };
}

describe(`a random configuration of seed ${seed} gives the numbers of one rank`, () => {
  it.each(cases)('$text', (drawn) => {
    expect([...failedChecks(comparisonOf(drawn))]).toEqual([]);
  });
});
