import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { observeRanks, runRanks } from '@megatron-ts/testing';

const greetings = new URL('./ranks/greetings.ts', import.meta.url);

interface Place {
  readonly process: number;
  readonly isThread: boolean;
  readonly thread: number;
  readonly variables: readonly (string | undefined)[];
}

describe.each([
  { kind: 'processes', inProcess: false },
  { kind: 'threads', inProcess: true },
])('runRanks with $kind', ({ inProcess }) => {
  it('calls the function on every rank and returns the values in the order of ranks, with their types', async () => {
    const values = await runRanks<{ text: string; numbers: Float32Array }>(2, greetings, 'introduce', {
      args: ['hello'],
      inProcess,
    });
    expect(values.map(({ text }) => text)).toEqual(['hello 0 of 2', 'hello 1 of 2']);
    expect(values[1]?.numbers).toEqual(Float32Array.of(1, 0.1));
  });

  it('ends all ranks at the first failure, and says what it was', async () => {
    await expect(runRanks(2, greetings, 'failFirst', { inProcess })).rejects.toThrow(
      expect.objectContaining({
        code: 'RANK_FAILED',
        message: expect.stringContaining('runRanks: failFirst: rank 0 failed with exit code 1: RangeError: the disk is full'),
      }),
    );
  });

  it('ends ranks that never yield when the deadline has passed, and names them', async () => {
    await expect(runRanks(1, greetings, 'spin', { timeoutMs: 1500, inProcess })).rejects.toThrow(
      expect.objectContaining({ code: 'TIMEOUT', message: 'runRanks: spin: rank 0 still ran after 1500 ms.' }),
    );
  });

  it('names the exports of a module that lacks the function', async () => {
    await expect(runRanks(1, greetings, 'missing', { inProcess })).rejects.toThrow(
      'exports no function missing, but failFirst, failFirstThenReturn, introduce, leave, spin, tellPlace, tellRecorder. Export it.',
    );
  });

  it('tells the status of a rank that ended itself', async () => {
    await expect(runRanks(2, greetings, 'leave', { inProcess })).rejects.toThrow('runRanks: leave: rank 1 failed with exit code 7');
  });

  it('keeps flight records for as long as the ranks run, unless the test names a place', async () => {
    const [own] = await runRanks<{ directory: string; exists: boolean }>(1, greetings, 'tellRecorder', { inProcess });
    expect(own?.exists).toBe(true);
    expect(existsSync(own?.directory ?? '.')).toBe(false);
    const env = { MEGATRON_RECORDER_DIR: 'off' };
    expect(await runRanks(1, greetings, 'tellRecorder', { inProcess, env })).toMatchObject([{ directory: 'off' }]);
  });
});

describe('ranks that are threads', () => {
  it('share the process of the test, each with variables of its own', async () => {
    const before = process.env['MEGATRON_JOB'];
    const options = { inProcess: true, env: { GREETING: 'hello' } };
    const places = await runRanks<Place>(8, greetings, 'tellPlace', options);
    for (const { process: pid, isThread, variables } of places)
      expect({ pid, isThread, variables }).toEqual({ pid: process.pid, isThread: true, variables: ['hello', 'sim', undefined] });
    expect(new Set(places.map(({ thread }) => thread)).size).toBe(8);
    expect(process.env['MEGATRON_JOB']).toBe(before);
  });
});

describe.each([
  { kind: 'processes', inProcess: false },
  { kind: 'threads', inProcess: true },
])('observeRanks with $kind', ({ inProcess }) => {
  it('lets the others run on after a failure, and tells how each fared', async () => {
    const outcomes = await observeRanks<number>(2, greetings, 'failFirstThenReturn', { inProcess });
    expect(outcomes[0]).toMatchObject({
      rank: 0,
      value: undefined,
      code: 1,
      signal: null,
      error: { name: 'RangeError', message: 'the disk is full' },
    });
    expect(outcomes[0]?.stderr).toContain('RangeError: the disk is full');
    expect(outcomes[1]).toMatchObject({ rank: 1, value: 1, code: 0, error: undefined });
  });
});
