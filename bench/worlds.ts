import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Mpi } from './mpi-libraries.ts';
import { WorldContestant } from './world-contestant.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** What each rank of a world runs. */
export interface RankProgram {
  /** Number of ranks. */
  readonly size: number;
  /** Script, a path from this folder; its first argument is the socket of its `WorldContestant`. */
  readonly script: string;
  /** Further arguments. */
  readonly args?: readonly string[];
}

/** A world of ours, of one thread a rank. */
export function startOurs({ size, script, args = [] }: RankProgram): Promise<WorldContestant> {
  const command = here('../node_modules/.bin/megatron-ts');
  return WorldContestant.start(size, (path) =>
    ended(command, ['run', '--ranks', String(size), here(script), path, ...args], { MEGATRON_THREADS: '1' }),
  );
}

/** A world of PyTorch's with gloo; the second argument of its script is a file store. */
export function startGloo(python: string, { size, script, args = [] }: RankProgram): Promise<WorldContestant> {
  const folder = mkdtempSync(join(tmpdir(), 'megatron-bench-'));
  return WorldContestant.start(size, async (path) => {
    const ranks = Array.from({ length: size }, (_, rank) =>
      ended(python, [here(script), path, join(folder, 'store'), ...args], {
        RANK: String(rank),
        WORLD_SIZE: String(size),
        OMP_NUM_THREADS: '1',
        GLOO_SOCKET_IFNAME: existsSync('/sys/class/net/lo') ? 'lo' : undefined,
      }),
    );
    const reasons = await Promise.all(ranks);
    rmSync(folder, { recursive: true, force: true });
    return reasons.find((reason) => reason !== undefined);
  });
}

/** A world of an MPI's, in Python. */
export function startMpi(python: string, { mpiexec, args, env }: Mpi, { size, script }: RankProgram): Promise<WorldContestant> {
  return WorldContestant.start(size, (path) =>
    ended(mpiexec, [...args, '-n', String(size), python, here(script), path], env(size > availableParallelism())),
  );
}

/** Runs a program until its end; resolves to why it failed. Its errors go to the terminal. */
function ended(command: string, args: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 2, 2], env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', ...env } });
    child.once('error', ({ message }) => resolve(message));
    child.once('close', (code, signal) => resolve(code === 0 ? undefined : `${command} ended with ${signal ?? `status ${code}`}.`));
  });
}
