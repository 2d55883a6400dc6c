import { ConfigError } from '@megatron-ts/errors';
import { type Environment, type Launch, resolveLaunch } from '@megatron-ts/launch';
import type { Backend } from './backend.ts';

/** Which rank a program says it is. */
export interface StatedRank {
  /** This rank's number in the world: needed to play one with backend `fake`, and otherwise only compared with the launcher's. */
  readonly rank: number | undefined;
  /** How many ranks the world has: needed with backend `fake`, and otherwise only compared with the launcher's. */
  readonly worldSize: number | undefined;
}

/**
 * Which rank this process is: the launcher's word, or the rank it plays.
 * @throws ConfigError CONTRADICTION when options and launcher differ; MISSING_OPTION when it plays none; those of `resolveLaunch`
 */
export function launchFor(asked: Backend | 'auto', { rank, worldSize }: StatedRank, env: Environment = process.env): Launch {
  if (asked === 'fake' && (rank !== undefined || worldSize !== undefined)) {
    checkWhole({ rank, worldSize });
    const job = env['MEGATRON_JOB'] ?? `fake-${process.pid}`;
    return resolveLaunch({}, { rank, worldSize, localRank: 0, localWorldSize: 1, job });
  }
  const launch = resolveLaunch(env);
  if (asked === 'fake' && launch.source === 'single')
    throw new ConfigError('MISSING_OPTION', 'initializeModelParallel: backend fake plays one rank of a world. Give rank and worldSize.');
  const [own, size] = [rank ?? launch.rank, worldSize ?? launch.worldSize];
  if (own === launch.rank && size === launch.worldSize) return launch;
  const given = size === launch.worldSize ? `rank ${own}` : `worldSize ${size}`;
  throw new ConfigError('CONTRADICTION', `initializeModelParallel: ${given} ${contradicted(launch, size)}`, {
    fields: { rank, worldSize, launch: { rank: launch.rank, worldSize: launch.worldSize, source: launch.source } },
  });
}

function contradicted({ source, rank, worldSize: launched }: Launch, size: number): string {
  const advice = `start ${size} ranks with megatron-ts run --ranks ${size}`;
  if (source === 'single') return `contradicts this process, which no launcher started: it is alone. Leave it out, or ${advice}.`;
  return `contradicts the launcher: ${source} says that this is rank ${rank} of ${launched}. Leave it out${size === launched ? '' : `, or ${advice}`}.`;
}

function checkWhole(options: StatedRank): void {
  for (const [name, value] of Object.entries(options))
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0))
      throw new ConfigError('INVALID_OPTION', `initializeModelParallel: ${name} is ${value}. Use a whole number.`);
}
