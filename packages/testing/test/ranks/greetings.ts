import { setTimeout as sleep } from 'node:timers/promises';

const rank = Number(process.env['RANK']);

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

/** Never yields to the event loop. */
export function spin(): void {
  for (;;);
}
