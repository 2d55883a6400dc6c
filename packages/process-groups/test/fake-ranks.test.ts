import { findOutlier, mergeRecords, verifyRecords } from '@megatron-ts/flight-recorder';
import {
  allGather,
  allReduce,
  barrier,
  exchange,
  gatherToRoot,
  initializeModelParallel,
  type ModelParallelOptions,
  type ParallelContext,
  recv,
  reduceScatter,
  scatter,
  send,
} from '@megatron-ts/process-groups';
import { type AnyTensor, empty, memoryStats, ones, tensor } from '@megatron-ts/tensor';
import { afterEach, describe, expect, it, vi } from 'vitest';

afterEach(() => vi.unstubAllEnvs());

const worldSize = 64;
const sizes = { backend: 'fake', worldSize, tensorModelParallelSize: 4, pipelineModelParallelSize: 4 } as const;

/** A step of a rank: tensor-parallel sums, activations down the pipeline, and a gradient sum. */
function step(ctx: ParallelContext): void {
  ctx.step(0, () => {
    const hidden = ones([2, 8]) as AnyTensor;
    if (!ctx.isFirstStage) recv(hidden, { group: ctx.pp, peer: ctx.pp.rank - 1 }).wait();
    allReduce(hidden, { group: ctx.tp, label: 'layers.0.mlp' }).wait();
    if (!ctx.isLastStage) send(hidden, { group: ctx.pp, peer: ctx.pp.rank + 1 }).wait();
    reduceScatter(ones([8]), { group: ctx.dp }).wait();
  });
}

async function record(rank: number, deviate?: (ctx: ParallelContext) => void) {
  await using ctx = await initializeModelParallel({ ...sizes, rank });
  deviate?.(ctx);
  step(ctx);
  return ctx.flightRecord();
}

async function refusal(options: ModelParallelOptions): Promise<string> {
  const error: unknown = await initializeModelParallel(options).then(
    () => 'nothing was refused',
    (cause: unknown) => cause,
  );
  const { code, message } = error as { code: string; message: string };
  return `${code} ${message}`;
}

describe('one rank alone of a world of thousands', () => {
  it('has the groups and the shapes of its place, and nothing moves', async () => {
    const options = { backend: 'fake', worldSize: 4096, rank: 4095, tensorModelParallelSize: 8, pipelineModelParallelSize: 16 } as const;
    await using ctx = await initializeModelParallel(options);
    expect(ctx.place).toBe('rank 4095 (tp 7, dp 31, pp 15)');
    expect([ctx.world.size, ctx.dp.size, ctx.tp.ranks.at(0), ctx.isLastStage]).toEqual([4096, 32, 4088, true]);
    ctx.step(0, () => {
      const t = tensor([1, 2, 3]);
      expect([...allReduce(t, { group: ctx.tp }).wait().toArray()]).toEqual([1, 2, 3]);
      expect(allGather(t, { group: ctx.dp }).wait().shape).toEqual([96]);
      expect(gatherToRoot(t, { group: ctx.dp, root: 3 }).wait()).toBeUndefined();
      expect(gatherToRoot(t, { group: ctx.dp, root: 31 }).wait()?.shape).toEqual([96]);
      expect(scatter(undefined, { group: ctx.tp, shape: [16, 5] }).wait().shape).toEqual([2, 5]);
      const came = empty([3]);
      exchange({ group: ctx.pp, sends: [{ peer: 14, tensor: t }], receives: [{ peer: 0, tensor: came }] }).wait();
      barrier({ group: ctx.world }).wait();
    });
    expect(ctx.tp.counts()).toMatchObject({ allReduce: 1, scatter: 1, bytes: 12 });
  });

  it('is one of many that one process plays one after another, with nothing kept', async () => {
    await record(0);
    const live = memoryStats().liveHandles;
    const records = [];
    for (let rank = 0; rank < worldSize; rank++) records.push(await record(rank));
    expect(memoryStats().liveHandles).toBe(live);
    expect(verifyRecords(records)).toMatchObject({ ok: true, problems: [] });
  });

  it('is found out when it would hang the others', async () => {
    const records = [];
    for (let rank = 0; rank < worldSize; rank++)
      records.push(await record(rank, rank === 9 ? (ctx) => void barrier({ group: ctx.tp }).wait() : undefined));
    const { ok, problems } = verifyRecords(records);
    expect(ok).toBe(false);
    expect(problems.join('\n')).toContain('rank 9');
    expect(findOutlier(mergeRecords(records)).culprits).toContain(9);
  });

  it('may be played by several contexts at once', async () => {
    await using one = await initializeModelParallel({ ...sizes, rank: 1 });
    await using two = await initializeModelParallel({ ...sizes, rank: 2 });
    await using again = await initializeModelParallel({ ...sizes, rank: 2 });
    step(one);
    step(two);
    step(again);
    expect([one, two, again].map((ctx) => [ctx.flightRecord().rank, ctx.flightRecord().operations.length])).toEqual([
      [1, 4], // with the agreement to stop
      [2, 8],
      [2, 8],
    ]);
  });

  it('takes its place from a launcher when options name none', async () => {
    vi.stubEnv('MEGATRON_BACKEND', 'fake');
    for (const [name, value] of Object.entries({ RANK: 3, WORLD_SIZE: 4, LOCAL_RANK: 3, LOCAL_WORLD_SIZE: 4 }))
      vi.stubEnv(name, String(value));
    await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2 });
    expect([ctx.place, ctx.flightRecord().backend]).toEqual(['rank 3 (tp 1, dp 1, pp 0)', 'fake']);
  });

  it('wants to know its place', async () => {
    expect(await refusal({ backend: 'fake' })).toBe(
      'MISSING_OPTION initializeModelParallel: backend fake plays one rank of a world. Give rank and worldSize.',
    );
    expect(await refusal({ backend: 'fake', worldSize: 8 })).toContain(
      'MISSING_OPTION launch: options give rank undefined and worldSize 8.',
    );
    expect(await refusal({ backend: 'fake', worldSize: 8, rank: 8 })).toContain('OUT_OF_RANGE launch: options says this is rank 8 of 8');
    expect(await refusal({ backend: 'fake', worldSize: 8, rank: 1.5 })).toBe(
      'INVALID_OPTION initializeModelParallel: rank is 1.5. Use a whole number.',
    );
  });
});
