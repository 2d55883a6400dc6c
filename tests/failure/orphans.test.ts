import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { isRunning, pidsIn, start } from '../../packages/cli/test/command-line.ts';

const program = fileURLToPath(new URL('programs/spin.ts', import.meta.url));

it.runIf(process.platform === 'linux')(
  'ranks that never yield end with a launcher that is killed, and leave no shared memory',
  async () => {
    const job = `orphans-${process.pid}`;
    const { child, sofar } = start(['run', '--ranks', '2', program], { MEGATRON_JOB: job });
    await vi.waitFor(() => expect(pidsIn(sofar())).toHaveLength(2), { timeout: 60_000, interval: 50 });
    child.kill('SIGKILL');
    await vi.waitFor(() => expect(pidsIn(sofar()).filter(isRunning)).toEqual([]), { timeout: 20_000, interval: 50 });
    expect(readdirSync('/dev/shm').filter((name) => name.includes(job))).toEqual([]);
  },
);
