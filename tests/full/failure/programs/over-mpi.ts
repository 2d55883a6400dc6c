// A rank under an MPI launcher: over-mpi.ts <folder> train|die. What it sees goes into a file of its own.
import { allReduce, barrier, initializeModelParallel, MegatronError, type ParallelContext, scope, tensor } from '@megatron-ts/core';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeRecording } from '../../../parity/recording.ts';
import { train } from '../../../parity/ranks/train.ts';
import { slowMs } from '../../../failure/fault-table.ts';
import { culprit, type Seen, tardy, trained } from '../mpi-plan.ts';
import { blockFor } from '../../../failure/ranks/block-for.ts';

function sum(ctx: ParallelContext, count: number): number {
  return scope(
    () =>
      allReduce(tensor(new Float32Array(count).fill(1)), { group: ctx.world, label: 'loss' })
        .wait()
        .toArray()[0] as number,
  );
}

async function runRank(folder: string, what: string): Promise<void> {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2, timeoutMs: 60_000, slowMs });
  const { rank } = ctx.world;
  const say = (seen: Seen): void => appendFileSync(join(folder, `${rank}.said`), `${JSON.stringify(seen)}\n`);
  const now = (): number => performance.timeOrigin + performance.now();
  barrier({ group: ctx.world }).wait();
  if (what === 'train') {
    writeRecording(folder, { name: trained.name, rank }, train(ctx, trained));
    if (rank === tardy) blockFor(3 * slowMs);
    sum(ctx, 4);
  }
  const from = now();
  try {
    if (rank === culprit) say({ from });
    if (rank === culprit && what === 'die') process.kill(process.pid, 'SIGKILL');
    sum(ctx, rank === culprit ? 5 : 4);
  } catch (error) {
    if (error instanceof MegatronError)
      say({ from, to: now(), code: error.code, culprits: error.fields['culprits'], message: error.message });
    throw error;
  }
}

const [folder = '', what = ''] = process.argv.slice(2);
await runRank(folder, what);
