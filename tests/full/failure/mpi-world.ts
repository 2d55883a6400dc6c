import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { nodeFlags } from '@megatron-ts/launch';
import { type Run, readRun } from '../../parity/recording.ts';
import type { Seen } from './mpi-plan.ts';

/** An MPI library with its launcher, as tools/mpi.mjs makes them. */
export interface Flavour {
  readonly name: 'mpich' | 'openmpi';
  readonly library: string;
  readonly flags: readonly string[];
}

/** The two that differ in everything that matters here: binary interface, launcher, and what it does when a rank dies. */
export const flavours: readonly Flavour[] = [
  { name: 'mpich', library: 'lib/libmpi_abi.so.1', flags: ['-bind-to', 'none'] },
  { name: 'openmpi', library: 'lib/libmpi.so.40', flags: ['--allow-run-as-root', '--bind-to', 'none', '--map-by', ':OVERSUBSCRIBE'] },
];

/** What came of a world under an MPI launcher. */
export interface MpiWorld {
  /** What each rank said. */
  readonly seen: readonly (readonly Seen[])[];
  /** Exit status of each rank; 137 is SIGKILL. */
  readonly statuses: readonly (number | undefined)[];
  /** What ranks and launcher printed. */
  readonly printed: string;
  /** The recording of a run that trained. */
  readonly run: Run | undefined;
}

const program = fileURLToPath(new URL('programs/over-mpi.ts', import.meta.url));

/** Starts a rank, notes its exit status, and stays until all have ended: else the launcher ends the others as soon as one dies. */
const keeper = 'trap "" USR1; "$@"; echo $? > "$0/${OMPI_COMM_WORLD_RANK:-$PMI_RANK}.status"; until [ -e "$0/over" ]; do sleep 0.02; done';

function made(flavour: Flavour, path: string): string {
  const whole = fileURLToPath(new URL(`../../../build/mpi/${flavour.name}/${path}`, import.meta.url));
  if (existsSync(whole)) return whole;
  throw new RangeError(`${whole} is missing: run node tools/mpi.mjs.`);
}

/** Runs the program's world `what` under the launcher of `flavour` until all its ranks have ended. */
export async function runUnderMpi(flavour: Flavour, size: number, what: string): Promise<MpiWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'megatron-mpi-'));
  const ranks = Array.from({ length: size }, (_, rank) => rank);
  const args = [...flavour.flags, '-n', String(size), 'sh', '-c', keeper, folder, process.execPath, ...nodeFlags(program), program];
  const env = {
    ...process.env,
    MEGATRON_JOB: basename(folder), // ranks of MPICH take it from their parent, which is their own keeper here
    MEGATRON_BACKEND: 'mpi',
    MEGATRON_MPI_LIBRARY: made(flavour, flavour.library),
    MEGATRON_RECORDER_DIR: 'off',
  };
  const launcher = spawn(made(flavour, 'bin/mpiexec'), [...args, folder, what], { stdio: ['ignore', 'pipe', 'pipe'], env });
  const closed = once(launcher, 'close');
  let printed = '';
  for (const stream of [launcher.stdout, launcher.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (printed += text));
  const read = (name: string) => (existsSync(join(folder, name)) ? readFileSync(join(folder, name), 'utf8') : '');
  try {
    const isEnded = (rank: number) => read(`${rank}.status`).endsWith('\n');
    while (launcher.exitCode === null && launcher.signalCode === null && !ranks.every(isEnded)) await sleep(20);
    writeFileSync(join(folder, 'over'), '');
    await closed;
    const linesOf = (rank: number) => read(`${rank}.said`).split('\n').filter(Boolean);
    return {
      seen: ranks.map((rank) => linesOf(rank).map((line) => JSON.parse(line) as Seen)),
      statuses: ranks.map((rank) => (isEnded(rank) ? Number(read(`${rank}.status`)) : undefined)),
      printed,
      run: existsSync(join(folder, 'trained.0.bin')) ? readRun(folder, { name: 'trained', size }) : undefined,
    };
  } finally {
    launcher.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}
