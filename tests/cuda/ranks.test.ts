import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { observeRanks, runRanks } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fakeMachine, rankVariables } from './play.ts';
import type { Collected } from './ranks/collectives.ts';

const program = new URL('ranks/collectives.ts', import.meta.url);

/** Two processes, each on a device of its own or both on one: their tensors lie there, and a fake NCCL moves them. */
describe.runIf(process.platform === 'linux')('two ranks on fake devices', () => {
  let machine: ReturnType<typeof fakeMachine>;
  let own: Collected[];
  let shared: Collected[];
  beforeAll(async () => {
    machine = fakeMachine();
    const of = (devices: number) => runRanks<Collected>(2, program, 'collect', { env: rankVariables(machine.folder, { devices }) });
    own = await of(2);
    shared = await of(1);
  });
  afterAll(() => machine.end());

  it('take the devices in turn, and pass for two hosts where they share one', () => {
    expect(own.map(({ device }) => device)).toEqual(['cuda:0', 'cuda:1']);
    expect(own.map(({ hostId }) => hostId)).toEqual([undefined, undefined]);
    expect(shared.map(({ device }) => device)).toEqual(['cuda:0', 'cuda:0']);
    expect(shared.map(({ hostId }) => hostId?.replace(/^.*-/, ''))).toEqual(['0', '1']);
  });

  it.each(['devices of their own', 'one device'])('do every operation on memory of %s', (where) => {
    const all = where === 'one device' ? shared : own;
    const common = {
      allReduce: [3, 30],
      max: [2, 20],
      average: [1.5, 15],
      whole: [2 ** 41 + 1],
      allGather: [1, 10, 2, 20],
      uneven: [1, 2, 3],
      broadcast: [2, 20],
      bytes: [4, 200],
      nothing: [],
    };
    expect(all.map(({ values }) => values)).toEqual([
      {
        ...common,
        reduce: [1, 10],
        reduceScatter: [3],
        gather: [1, 10, 2, 20],
        scatter: [5],
        allToAll: [1, 2],
        recv: [2, 20],
        exchange: [2, 20],
      },
      { ...common, reduce: [3, 30], reduceScatter: [30], gather: [], scatter: [6], allToAll: [10, 20], recv: [1, 10], exchange: [1, 10] },
    ]);
  });

  it('wait for the device in no collective and in no step', () => {
    for (const { waits } of [...own, ...shared]) expect(waits).toEqual([0, 0]);
  });

  it('give back what they took', () => {
    for (const { liveBytes } of [...own, ...shared]) expect(liveBytes[1]).toBe(liveBytes[0]);
  });

  it('refuse in one sentence each what would hang or be wrong', async () => {
    const env = rankVariables(machine.folder, { devices: 2 });
    const [first, second] = await runRanks<string[]>(2, program, 'mistakes', { env });
    const unwaited = 'ctx.step(0): 1 operation(s) were never waited for (allReduce). Call wait() on what they return.';
    const average =
      'allReduce on group world: NCCL adds bytes without room for their sum, so that the average would be wrong. Cast to i32.';
    const called = 'rank 1 called allReduce#3 f32[2] sum on a device while rank 0 called allReduce#3 f32[2] sum.';
    const advice = 'The ranks disagree on where the tensors lie: copy them to one kind of place.';
    const mismatch = `collective mismatch on group world: ${called} ${advice}`;
    const places = (device: string) => `exchange: one tensor lies on the CPU, another on ${device}. Copy one to where the other is.`;
    expect(first?.slice(0, 3)).toEqual([expect.stringContaining(unwaited), average, places('cuda:0')]);
    expect(second?.slice(0, 3)).toEqual([expect.stringContaining(unwaited), average, places('cuda:1')]);
    expect(first?.[3]).toBe(mismatch);
    expect(second?.[3]).toBe(mismatch);
  });

  it('refuse a device that is not there, and threads that share one', async () => {
    const env = rankVariables(machine.folder, { devices: 2 });
    const absent = await observeRanks(2, program, 'collect', { env: { ...env, MEGATRON_DEVICE: 'cuda:2' } });
    for (const { error } of absent) expect(error?.message).toMatch(/device 2: there are 2 devices\. Use cuda:0 to cuda:1\.$/);
    Object.assign(process.env, { ...env, MEGATRON_DEVICE: 'cpu' }); // threads have the environment of their process in the engine
    const threads = await observeRanks(2, program, 'collect', { env: { MEGATRON_DEVICE: 'cuda:1' }, inProcess: true });
    const sentence =
      'initializeModelParallel: ranks 0, 1 are threads of one process and share a device, which NCCL does not allow. Start them as processes, or give each a device.';
    for (const { error } of threads) expect(error?.message).toBe(sentence);
  });

  it('name the rank whose NCCL is missing, or fails', async () => {
    const bare = fakeMachine();
    rmSync(join(bare.folder, 'libnccl.so.2'));
    const missing = await observeRanks(2, program, 'collect', { env: rankVariables(bare.folder, { devices: 2 }) });
    bare.end();
    for (const { error } of missing)
      expect(error?.message).toMatch(/rank [01] cannot join its groups by NCCL: NCCL: libnccl\.so\.2 was not found/);
    const env = rankVariables(machine.folder, { devices: 2, fake: 'fail=ncclAllReduce:2:0 fail_rank=1' });
    const failing = await observeRanks(2, program, 'collect', { env });
    const sentence =
      'rank 1 gave up in allReduce#1 f32[2] on group world: group world: rank 1 of 2: ncclAllReduce fails (unhandled system error';
    for (const { error } of failing) expect(error?.message).toContain(sentence);
  });
});
