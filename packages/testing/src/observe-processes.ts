import { spawnRanks } from '@megatron-ts/launch';
import { besideTesting } from './beside-testing.ts';
import { type Observation, type PlannedWorld, RankLog } from './observed-world.ts';
import type { RankReturn } from './rank-call.ts';

/** Runs a world of processes until all have ended, by themselves or at the deadline. */
export async function observeProcesses<T>({ plan, call, onFailure, env, timeoutMs }: PlannedWorld): Promise<Observation<T>> {
  const log = new RankLog<T>(plan.worldSize);
  const world = spawnRanks(plan, {
    script: besideTesting('rank-boot'),
    env,
    sink: (rank, stream, chunk) => log.wrote(rank, stream, chunk),
    channel: true,
    onFailure,
  });
  for (const { rank, child } of world.ranks) {
    child.once('message', (message) => log.returned(rank, (message as RankReturn).value));
    child.send(call, () => undefined); // a rank that is gone already tells by its end
  }
  let timedOut: number | undefined;
  const deadline = setTimeout(() => {
    timedOut = timeoutMs;
    world.stop('SIGKILL');
  }, timeoutMs);
  const { ends, failure } = await world.ended;
  clearTimeout(deadline);
  return { outcomes: log.outcomes(ends), failure, timedOut };
}
