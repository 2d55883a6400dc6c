import { createInterface } from 'node:readline';
import { peakResidentBytes, runQueueWait } from './process-measures.ts';

/** What a side does when it is told what its next turns are of. */
export type Prepare = (setting: unknown) => object;

/** Answers the lines of a `Contestant`: `f` is one turn and returns a number that it computed. */
export async function takeTurns(who: string, f: () => number, prepare: Prepare = () => ({})): Promise<void> {
  say({ who });
  for await (const line of createInterface({ input: process.stdin })) {
    const [word] = line.split(' ', 1);
    if (word === 'end') return;
    if (word === 'memory') say({ peakBytes: peakResidentBytes() });
    else if (word === 'prepare') say(prepare(JSON.parse(line.slice(word.length))));
    else say(measured(f));
  }
}

function measured(f: () => number) {
  const waited = runQueueWait();
  const started = performance.now();
  const value = f();
  const ms = performance.now() - started;
  return { ms, wait: ((runQueueWait() - waited) * 1000) / ms, value };
}

function say(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
