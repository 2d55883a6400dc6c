import { createInterface } from 'node:readline';
import { peakResidentBytes, runQueueWait } from './process-measures.ts';

/** Answers the lines of a `Contestant`: `f` is one turn and returns a number that it computed. */
export async function takeTurns(who: string, f: () => number): Promise<void> {
  say({ who });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'end') return;
    say(line === 'memory' ? { peakBytes: peakResidentBytes() } : measured(f));
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
