import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Verdict } from '../../../packages/process-groups/test/ranks/against-reference.ts';
import type { Seen } from '../../../packages/process-groups/test/ranks/four-ranks.ts';
import { fakeMachine, hostKernels, rankVariables } from '../../cuda/play.ts';
import { checks, type CheckName, type Limits } from '../../parity/checks.ts';
import { readRun, type Run } from '../../parity/recording.ts';
import { alone, type Layout, layoutText, ranksFrom, type RunPlan, sizeOf, tiny } from '../../parity/run-plan.ts';

const [contract, parity] = [
  new URL('../../../packages/process-groups/test/ranks/four-ranks.ts', import.meta.url),
  new URL('../../parity/ranks/walk-runs.ts', import.meta.url),
];
const run = `run=${hostKernels} memory=2000000000`;

let machine: ReturnType<typeof fakeMachine>;
beforeAll(() => {
  machine = fakeMachine();
});
afterAll(() => machine.end());

/** The contract of all backends, through TypeScript, on tensors of devices: the fake NCCL adds in the order of ranks, hence bit for bit. */
describe.runIf(process.platform === 'linux').each([
  { kind: 'processes', inProcess: false },
  { kind: 'threads', inProcess: true },
])('four ranks on fake devices that are $kind', ({ inProcess }) => {
  let ranks: Seen[];
  beforeAll(async () => {
    const env = rankVariables(machine.folder, { devices: 4, fake: run });
    // Threads have the environment of their process in the engine.
    if (inProcess) Object.assign(process.env, { ...env, MEGATRON_DEVICE: 'cpu' });
    ranks = await runRanks<Seen>(4, contract, 'seeFourRanks', { env, inProcess, timeoutMs: 280_000 });
  });

  it.each(['reductions', 'movements', 'rooted', 'uneven'] as const)('keep the contract of %s', (name) => {
    const own = ranks.map((seen): readonly Verdict[] => seen[name]);
    expect(own.flat().length).toBeGreaterThan(4);
    own.forEach((all, rank) => expect({ rank, faults: all.filter(({ fault }) => fault !== undefined) }).toEqual({ rank, faults: [] }));
  });

  it('keep the order of messages, cross groups in any order, and have the sums of their own', () => {
    const from = (source: number, rank: number) => Array.from({ length: 70 }, (_, at) => 1000 * source + 100 * rank + at);
    ranks.forEach(({ manyMessages }, rank) => expect(manyMessages).toEqual([from((rank + 3) % 4, rank), from((rank + 2) % 4, rank)]));
    expect(ranks.map(({ crossed }) => crossed[2])).toEqual([1111, 1111, 1111, 1111]);
    expect(ranks.map(({ subGroups }) => subGroups.modelParallel)).toEqual([1111, 1111, 1111, 1111]);
  });
});

const layouts: readonly Layout[] = [
  { data: 1, pipeline: 1, tensor: 2 },
  { data: 1, pipeline: 2, tensor: 1 },
  { data: 2, pipeline: 1, tensor: 1 },
  { data: 1, pipeline: 2, tensor: 2 },
  { data: 2, pipeline: 2, tensor: 2 },
];
/** Products and sums over rows are made in another order on a device: 24 bits of f32, some of which are lost in each of many sums. */
const limits: Limits = { gradient: 1e-4, zeroGradient: 1e-6, gradientNorm: 1e-4, loss: 1e-4 };

/** Training of a GPT by several ranks on devices, held against one rank on the CPU. */
describe.runIf(process.platform === 'linux')('a GPT trained on fake devices', () => {
  const folder = mkdtempSync(join(tmpdir(), 'megatron-device-ranks-'));
  const planOf = (layout: Layout): RunPlan => ({
    ...tiny,
    model: { ...tiny.model, numLayers: 2, maxSequenceLength: 8 }, // kernels take their time on a CPU
    globalBatchSize: 4,
    microbatchSize: 1,
    name: layoutText(layout),
    layout,
    ranks: ranksFrom(0, sizeOf(layout)),
    steps: 3,
    gradientsAt: [1, 3],
    clipGradNorm: 0.5,
  });
  beforeAll(async () => {
    await runRanks(1, parity, 'walkRuns', { args: [folder, [planOf(alone)]] });
    for (const layout of layouts) {
      // NCCL adds each part of the data from another rank on, and so does this fake.
      const fake = `${run} ring=1`;
      const env = { ...rankVariables(machine.folder, { devices: sizeOf(layout), fake }), MEGATRON_SLOW_MS: '60000' };
      await runRanks(sizeOf(layout), parity, 'walkRuns', { args: [folder, [planOf(layout)]], env, timeoutMs: 280_000 });
    }
  }, 900_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const runOf = (layout: Layout): Run => readRun(folder, { name: layoutText(layout), size: sizeOf(layout) });
  const rows = layouts.map((layout) => [layoutText(layout), layout] as const);

  describe.each(rows)('in a layout of %s', (_, layout) => {
    it.each<[string, CheckName]>([
      ['begins with the same values, bit for bit', 'initialValues'],
      ['has the gradients of one rank on the CPU, close', 'gradients'],
      ['has the gradient norm of one rank on the CPU, close, and the same bits on all ranks', 'gradientNorm'],
      ['ends with the same bits in all copies of parameters and moments', 'replicas'],
      ['has the loss curve of one rank on the CPU, close, and the same bits on all ranks', 'lossCurve'],
    ])('%s', (_, name) => checks[name]({ run: runOf(layout), alone: runOf(alone), limits }));

    it('gives back all memory of its model', () => {
      for (const { leftBytes } of runOf(layout)) expect(leftBytes).toBe(0);
    });
  });
});
