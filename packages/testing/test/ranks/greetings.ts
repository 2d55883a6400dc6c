import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, threadId } from 'node:worker_threads';

const rank = Number(process.env['RANK']);
const thread = threadId;

/** Says who it is, in values that a plain text could not carry. */
export function introduce(greeting: string): { text: string; numbers: Float32Array } {
  process.stdout.write(`${greeting} from ${rank}\n`);
  return { text: `${greeting} ${rank} of ${process.env['WORLD_SIZE']}`, numbers: Float32Array.of(rank, 0.1) };
}

/** The first rank fails, the others would stay. */
export async function failFirst(): Promise<void> {
  if (rank === 0) throw new RangeError('the disk is full');
  await sleep(600_000);
}

/** The first rank fails, the others return. */
export async function failFirstThenReturn(): Promise<number> {
  if (rank === 0) throw new RangeError('the disk is full');
  await sleep(50);
  return rank;
}

/** Where it runs, with which variables, and whether they are its own. */
export function tellPlace(): { process: number; isThread: boolean; thread: number; variables: (string | undefined)[] } {
  process.env['MEGATRON_JOB'] += `-${rank}`;
  const names = ['GREETING', 'MEGATRON_BACKEND', 'NODE_OPTIONS'];
  return { process: process.pid, isThread: !isMainThread, thread, variables: names.map((name) => process.env[name]) };
}

/** Ends by itself with a status. */
export function leave(): void {
  process.exit(rank === 1 ? 7 : 0);
}

/** Where flight records would go. */
export function tellRecorder(): { directory: string | undefined; exists: boolean } {
  const directory = process.env['MEGATRON_RECORDER_DIR'];
  return { directory, exists: directory !== undefined && existsSync(directory) };
}

/** Never yields to the event loop. */
export function spin(): void {
  for (;;);
}
