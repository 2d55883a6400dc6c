import { availableParallelism } from 'node:os';
import { comparisonRow, pairsWith, perOperation } from './comparison.ts';
import { mpiLibraries } from './mpi-libraries.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { forgiving, playRounds } from './rounds.ts';
import { startGloo, startMpi, startOurs } from './worlds.ts';
import type { WorldContestant } from './world-contestant.ts';

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

/** What a world is asked to do in a turn. */
interface Setting {
  /** Collective. */
  readonly op: string;
  /** Size of its larger buffer on each rank. */
  readonly bytes: number;
}

/**
 * Collectives on one host beside gloo and each MPI that is installed, in microseconds per operation: f32 sums, worlds of 2 and 4 ranks.
 * `bytes` is the size of the larger buffer on each rank; an exchange sends it to the next rank and receives as much from the last.
 */
export async function collectives({ pairs = 9, sizes: worlds = [2, 4] }: CollectivesOptions): Promise<Report> {
  const python = peerPython();
  const rows: Row[] = [];
  for (const size of worlds) {
    const ours = await startOurs({ size, script: 'collectives-ours.ts' });
    const peers = [await startGloo(python, { size, script: 'peers/collectives_torch.py' })];
    for (const mpi of mpiLibraries(python)) peers.push(await startMpi(python, mpi, { size, script: 'peers/collectives_mpi.py' }));
    for (const op of ops) for (const bytes of sizes) rows.push(...(await compare([ours, ...peers], { op, bytes }, { size, pairs })));
    for (const world of [ours, ...peers]) await world.end();
  }
  return reportOf(`collectives of ${worlds.join(' and ')} ranks`, rows);
}

async function compare(
  worlds: readonly WorldContestant[],
  { op, bytes }: Setting,
  { size, pairs }: { readonly size: number; readonly pairs: number },
): Promise<Row[]> {
  const players = [];
  for (const world of worlds) players.push(await world.player(`${op} ${bytes}`));
  // Ranks that outnumber the cores wait for them by themselves, and so do gloo's and MPI's threads beside theirs where cores are few.
  const cores = availableParallelism();
  const waits = (at: number) => size > cores || (at > 0 && 2 * size > cores);
  const turns = players.map((player, at) => (waits(at) ? forgiving(player) : player));
  const rounds = await playRounds(turns, { wanted: pairs, patience: 3, warmUp: 1 });
  return players
    .slice(1)
    .map(({ who }, at) =>
      comparisonRow(`${size} ranks, ${op} of ${sizeText(bytes)}, beside ${who}`, pairsWith(at, rounds), perOperation('µs')),
    );
}

function sizeText(bytes: number): string {
  return bytes < KiB ** 2 ? `${bytes / KiB} KiB` : `${bytes / KiB ** 2} MiB`;
}
