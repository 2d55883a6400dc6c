import { ProcessGroupError } from '@megatron-ts/errors';
import { describeFailure } from '@megatron-ts/launch';
import { observeWorld } from './observe-world.ts';
import type { RankOptions, RankOutcome } from './observed-world.ts';

/**
 * Runs an exported function on every rank of a world of its own, one process each or with `inProcess` one thread, and resolves to what it
 * returned, by rank.
 * The first rank that fails ends the others. Put the function into a module without tests: the ranks import it.
 * @throws ProcessGroupError RANK_FAILED with the failure's message and what that rank printed; TIMEOUT
 */
export async function runRanks<T>(world: number, moduleUrl: string | URL, exportName: string, options: RankOptions = {}): Promise<T[]> {
  const call = { moduleUrl: String(moduleUrl), exportName, args: options.args ?? [] };
  const { outcomes, failure, timedOut } = await observeWorld<T>(world, { call, onFailure: 'SIGKILL', options });
  if (timedOut !== undefined) {
    const late = outcomes.filter(({ code }) => code !== 0).map(({ rank }) => rank);
    const printed = late.map((rank) => printedBy(outcomes[rank])).join('');
    throw new ProcessGroupError(
      'TIMEOUT',
      `runRanks: ${exportName}: rank ${late.join(', ')} still ran after ${timedOut} ms.\n${printed}`.trimEnd(),
    );
  }
  if (failure === undefined) return outcomes.map(({ value }) => value as T);
  const printed = printedBy(outcomes[failure.rank]);
  throw new ProcessGroupError('RANK_FAILED', `runRanks: ${exportName}: ${describeFailure(failure)}\n${printed}`.trimEnd(), {
    fields: { ...failure, outcomes },
  });
}

/**
 * Like `runRanks`, for tests of failures: a rank that fails leaves the others running, and nothing is thrown.
 * Ranks that still run at the deadline are ended.
 */
export async function observeRanks<T>(
  world: number,
  moduleUrl: string | URL,
  exportName: string,
  options: RankOptions = {},
): Promise<RankOutcome<T>[]> {
  const call = { moduleUrl: String(moduleUrl), exportName, args: options.args ?? [] };
  const { outcomes } = await observeWorld<T>(world, { call, onFailure: 'nothing', options });
  return outcomes;
}

function printedBy(outcome: RankOutcome<unknown> | undefined): string {
  return outcome === undefined ? '' : `${outcome.stdout}${outcome.stderr}`;
}
