import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Turn } from './contestant.ts';
import { type Mpi, mpiLibraries } from './mpi-libraries.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { isUndisturbed, playRounds, quietRounds } from './rounds.ts';
import { median, medianInterval } from './statistics.ts';
import { type Setting, WorldContestant } from './world-contestant.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const KiB = 1024;
const ops = ['allReduce', 'allGather', 'reduceScatter', 'exchange'];
const sizes = [KiB, KiB ** 2, 64 * KiB ** 2];

/** Settings of the bench. */
export interface CollectivesOptions {
  /** Undisturbed rounds that are wanted of each row; 9 by default. */
  readonly pairs?: number;
  /** Sizes of the worlds; 2 and 4 by default. */
  readonly sizes?: readonly number[];
}

/**
 * Collectives on one host beside gloo and each MPI that is installed, in microseconds per operation: f32 sums, worlds of 2 and 4 ranks.
 * `bytes` is the size of the larger buffer on each rank; an exchange sends it to the next rank and receives as much from the last.
 */
export async function collectives({ pairs = 9, sizes: worlds = [2, 4] }: CollectivesOptions): Promise<Report> {
  const python = peerPython();
  const rows: Row[] = [];
  for (const size of worlds) {
    const ours = await startOurs(size);
    const peers = [await startGloo(python, size)];
    for (const mpi of mpiLibraries(python)) peers.push(await startMpi(python, size, mpi));
    for (const op of ops) for (const bytes of sizes) rows.push(...(await compare([ours, ...peers], { op, bytes }, { size, pairs })));
    for (const world of [ours, ...peers]) await world.end();
  }
  return reportOf('collectives', rows);
}

async function compare(
  worlds: readonly WorldContestant[],
  setting: Setting,
  { size, pairs }: { readonly size: number; readonly pairs: number },
): Promise<Row[]> {
  const players = [];
  for (const world of worlds) players.push(await world.player(setting));
  // Ranks that outnumber the cores wait for them by themselves.
  const forgiven = size > availableParallelism();
  const turns = players.map(({ turn }) => ({ turn: async () => (forgiven ? { ...(await turn()), wait: 0 } : turn()) }));
  const rounds = await playRounds(turns, { wanted: pairs, warmUp: 1 });
  return players.slice(1).map(({ who }, at) => {
    const both = rounds.map((round) => [round[0], round[at + 1]] as [Turn, Turn]);
    return rowOf(`${size} ranks, ${setting.op} of ${sizeText(setting.bytes)}, beside ${who}`, both);
  });
}

function rowOf(name: string, both: readonly (readonly [Turn, Turn])[]): Row {
  const quiet = quietRounds(both);
  const ratios = quiet.map(([ours, peer]) => peer.value / ours.value);
  const { low, high } = medianInterval(ratios);
  return {
    name,
    unit: 'µs',
    ours: median(quiet.map(([ours]) => ours.value)),
    peer: median(quiet.map(([, peer]) => peer.value)),
    ratio: median(ratios),
    ratioLow: low,
    ratioHigh: high,
    pairs: both.filter((pair) => pair.every(isUndisturbed)).length,
    leftOut: both.filter((pair) => !pair.every(isUndisturbed)).length,
  };
}

function sizeText(bytes: number): string {
  return bytes < KiB ** 2 ? `${bytes / KiB} KiB` : `${bytes / KiB ** 2} MiB`;
}

function startOurs(size: number): Promise<WorldContestant> {
  const command = here('../node_modules/.bin/megatron-ts');
  return WorldContestant.start(size, (path) =>
    ended(command, ['run', '--ranks', String(size), here('collectives-ours.ts'), path], { MEGATRON_THREADS: '1' }),
  );
}

function startGloo(python: string, size: number): Promise<WorldContestant> {
  const folder = mkdtempSync(join(tmpdir(), 'megatron-bench-'));
  return WorldContestant.start(size, async (path) => {
    const args = [here('peers/collectives_torch.py'), path, join(folder, 'store')];
    const ranks = Array.from({ length: size }, (_, rank) =>
      ended(python, args, {
        RANK: String(rank),
        WORLD_SIZE: String(size),
        GLOO_SOCKET_IFNAME: existsSync('/sys/class/net/lo') ? 'lo' : undefined,
      }),
    );
    const reasons = await Promise.all(ranks);
    rmSync(folder, { recursive: true, force: true });
    return reasons.find((reason) => reason !== undefined);
  });
}

function startMpi(python: string, size: number, { mpiexec, args, env }: Mpi): Promise<WorldContestant> {
  return WorldContestant.start(size, (path) =>
    ended(mpiexec, [...args, '-n', String(size), python, here('peers/collectives_mpi.py'), path], env(size > availableParallelism())),
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
