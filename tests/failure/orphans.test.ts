import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';

const bin = fileURLToPath(new URL('../../packages/core/bin/megatron-ts.js', import.meta.url));
const program = fileURLToPath(new URL('programs/spin.ts', import.meta.url));

/** Whether a process runs; one that only waits to be collected does not. */
function isRunning(pid: string): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

it.runIf(process.platform === 'linux')(
  'ranks that never yield end with a launcher that is killed, and leave no shared memory',
  async () => {
    const job = `orphans-${process.pid}`;
    const launcher = spawn(process.execPath, [bin, 'run', '--ranks', '2', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, MEGATRON_JOB: job },
    });
    let printed = '';
    launcher.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
    const pids = () => [...printed.matchAll(/pid (\d+)/g)].map(([, pid = '']) => pid);
    await vi.waitFor(() => expect(pids()).toHaveLength(2), { timeout: 60_000, interval: 50 });
    launcher.kill('SIGKILL');
    await vi.waitFor(() => expect(pids().filter(isRunning)).toEqual([]), { timeout: 20_000, interval: 50 });
    expect(readdirSync('/dev/shm').filter((name) => name.includes(job))).toEqual([]);
  },
);
