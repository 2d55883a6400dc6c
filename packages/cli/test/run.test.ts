import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { isRunning, pidsIn, program, start } from './command-line.ts';

describe('megatron-ts', () => {
  it('lists its commands, and refuses one it does not have', async () => {
    expect(await start(['--help']).ended).toMatchObject({ code: 0, stdout: expect.stringContaining('Usage: megatron-ts <command>') });
    expect(await start(['fly']).ended).toMatchObject({
      code: 2,
      stderr: 'megatron-ts: there is no command "fly". Use run, doctor, diagnose, or --help.\n',
    });
    expect(await start(['run', '--help']).ended).toMatchObject({ code: 0, stdout: expect.stringContaining('--nproc-per-node N') });
    expect(await start(['run', '--ranks', 'x', 'y.ts']).ended).toMatchObject({
      code: 2,
      stderr: 'megatron-ts run: --ranks is "x". Give a whole number from 1.\n',
    });
  });
});

describe('megatron-ts run', () => {
  it('prefixes what each rank prints, passes arguments on, and writes one log per rank', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'megatron-logs-'));
    const { code, stdout, stderr } = await start(['run', '--ranks', '2', '--log-dir', folder, program('say.mjs'), '--lr', '3']).ended;
    const lines = stdout.trimEnd().split('\n').sort();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(lines).toEqual(['[rank 0] rank 0 of 2 --lr 3', '[rank 0] unfinished', '[rank 1] rank 1 of 2 --lr 3', '[rank 1] unfinished']);
    expect(readFileSync(join(folder, 'rank-1.log'), 'utf8')).toBe('rank 1 of 2 --lr 3\nunfinished');
    rmSync(folder, { recursive: true });
  });

  it('runs TypeScript, with await using', async () => {
    expect(await start(['run', program('say.ts')]).ended).toMatchObject({ code: 0, stdout: '[rank 0] object\n[rank 0] disposed\n' });
  });

  it.each([
    ['throw', 1, 'rank 1 failed with exit code 1: RangeError: no room left'],
    ['exit', 7, 'rank 1 failed with exit code 7: giving up'],
    ['kill', 137, 'rank 1 was ended by SIGKILL'],
  ])(
    'reports the first failure (%s) and ends ranks that ignore SIGTERM, with all they started, within 5 seconds',
    async (how, status, sentence) => {
      const { ended, sofar } = start(['run', '--ranks', '3', program('fail.mjs'), '1', how]);
      await vi.waitFor(() => expect(pidsIn(sofar())).toHaveLength(6), { timeout: 20_000, interval: 20 });
      const seen = performance.now();
      const { code, stderr, stdout } = await ended;
      expect(performance.now() - seen).toBeLessThan(5_500); // 0.3 s until the failure
      expect(code).toBe(status);
      expect(stderr.trimEnd().split('\n').at(-1)).toBe(`megatron-ts run: ${sentence}`);
      expect(stdout).toContain('[rank 0] will not go');
      expect(pidsIn(stdout).filter(isRunning)).toEqual([]);
    },
  );

  it('passes SIGTERM on, so that ranks finish their step', async () => {
    const { child, ended, sofar } = start(['run', '--ranks', '2', program('wait.mjs')]);
    await vi.waitFor(() => expect(pidsIn(sofar())).toHaveLength(2), { timeout: 20_000, interval: 20 });
    child.kill('SIGTERM');
    const { code, stdout, stderr } = await ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('[rank 0] finished the step');
    expect(stdout).toContain('[rank 1] finished the step');
  });

  it('ends ranks that ignore signals at the second one', async () => {
    const { child, ended, sofar } = start(['run', '--ranks', '2', program('fail.mjs'), 'none']);
    await vi.waitFor(() => expect(pidsIn(sofar())).toHaveLength(4), { timeout: 20_000, interval: 20 });
    child.kill('SIGTERM');
    await vi.waitFor(() => expect(sofar()).toContain('will not go'), { timeout: 20_000, interval: 20 });
    child.kill('SIGTERM');
    const { code, stdout } = await ended;
    expect(code).toBe(137);
    expect(pidsIn(stdout).filter(isRunning)).toEqual([]);
  });

  it.runIf(process.platform === 'linux')(
    'lets ranks lead groups in its own session, whose processes offer cores to each other',
    async () => {
      const stat = readFileSync('/proc/self/stat', 'utf8');
      const session = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3] ?? '';
      const { stdout } = await start(['run', '--ranks', '2', program('group.mjs')]).ended;
      const lines = stdout.trimEnd().split('\n').sort();
      const expected = [0, 1].flatMap((rank) => ['child', 'rank'].map((who) => `[rank ${rank}] ${who}: leads true, session ${session}`));
      expect(lines).toEqual(expected);
    },
  );

  it('leaves no rank behind when it is killed itself', async () => {
    const { child, sofar } = start(['run', '--ranks', '2', program('wait.mjs')]);
    await vi.waitFor(() => expect(pidsIn(sofar())).toHaveLength(2), { timeout: 20_000, interval: 20 });
    child.kill('SIGKILL');
    await vi.waitFor(() => expect(pidsIn(sofar()).filter(isRunning)).toEqual([]), { timeout: 20_000, interval: 50 });
  });

  it.runIf(process.platform === 'linux')('leaves nothing in shared memory and no temporary files', async () => {
    const temporary = mkdtempSync(join(tmpdir(), 'megatron-empty-'));
    const { code, stdout } = await start(['run', program('leave.mjs')], { TMPDIR: temporary }).ended;
    const file = /\/dev\/shm\/\S+/.exec(stdout)?.[0] ?? '';
    expect(code).toBe(137);
    expect(file).toContain('/dev/shm/megatron-run-');
    expect(existsSync(file)).toBe(false);
    expect(readdirSync(temporary).filter((name) => name.startsWith('megatron-run-'))).toEqual([]);
    rmSync(temporary, { recursive: true });
  });
});
