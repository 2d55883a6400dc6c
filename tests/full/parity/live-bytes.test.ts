import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRanks } from '@megatron-ts/testing';
import { expect, it } from 'vitest';
import { readRun } from '../../parity/recording.ts';
import { ranksFrom, type RunPlan, tiny } from '../../parity/run-plan.ts';

it('native memory is the same after the tenth and after the five hundredth step on every rank of 2·2·2', async () => {
  const size = 8;
  const layout = { data: 2, pipeline: 2, tensor: 2 };
  const plan: RunPlan = { ...tiny, name: 'long', layout, ranks: ranksFrom(0, size), clipGradNorm: 0.5, steps: 500, gradientsAt: [] };
  const folder = mkdtempSync(join(tmpdir(), 'megatron-long-'));
  try {
    const module = new URL('../../parity/ranks/walk-runs.ts', import.meta.url);
    await runRanks(size, module, 'walkRuns', { args: [folder, [plan]], timeoutMs: 280_000 });
    for (const { liveBytes } of readRun(folder, { name: plan.name, size })) expect(liveBytes[499]).toBe(liveBytes[9]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
