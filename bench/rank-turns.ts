import { once } from 'node:events';
import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';
import { runQueueWait } from './process-measures.ts';

/** Who answers. */
export interface RankName {
  /** Number of the rank. */
  readonly rank: number;
  /** Name of the world. */
  readonly who: string;
}

/** Runs an operation as often as this turn wants, and keeps the time. */
export type Clock = (operation: () => void) => void;

/**
 * One rank of a `WorldContestant`. @param turn - reads the words of a line, has its operation timed once, and returns what all ranks must
 * agree on
 */
export async function takeRankTurns(path: string, name: RankName, turn: (words: readonly string[], clock: Clock) => number): Promise<void> {
  const socket = createConnection(path);
  await once(socket, 'connect');
  const say = (answer: object) => socket.write(`${JSON.stringify(answer)}\n`);
  say(name);
  for await (const line of createInterface({ input: socket })) {
    const words = line.split(' ');
    const repeats = Number(words.pop());
    let time = {};
    const value = turn(words, (operation) => {
      time = timeOf(operation, repeats);
    });
    say({ ...time, value });
  }
}

/** Microseconds of one of `repeats`, and the share of the time for which threads waited for a core. */
function timeOf(operation: () => void, repeats: number): object {
  const waited = runQueueWait();
  const started = performance.now();
  for (let repeat = 0; repeat < repeats; repeat++) operation();
  const ms = performance.now() - started;
  return { us: (ms * 1000) / repeats, wait: ((runQueueWait() - waited) * 1000) / ms };
}
