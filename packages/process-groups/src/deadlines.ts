import { ConfigError } from '@megatron-ts/errors';
import type { Environment } from '@megatron-ts/launch';

/** Deadlines of a group, in milliseconds. */
export interface Deadlines {
  /** An operation that takes longer fails and names who is missing. */
  readonly timeoutMs: number;
  /** An operation that takes longer is warned about. */
  readonly slowMs: number;
}

/** What options leave open comes from `MEGATRON_TIMEOUT_MS` and `MEGATRON_SLOW_MS`. @throws ConfigError INVALID_OPTION, INVALID_VARIABLE */
export function deadlinesFor(
  { timeoutMs, slowMs }: { [Name in keyof Deadlines]: number | undefined },
  env: Environment = process.env,
): Deadlines {
  const deadlines = {
    timeoutMs: timeoutMs ?? milliseconds(env, 'MEGATRON_TIMEOUT_MS', 600_000),
    slowMs: slowMs ?? milliseconds(env, 'MEGATRON_SLOW_MS', 5000),
  };
  checkDeadlines('initializeModelParallel', deadlines);
  return deadlines;
}

/** Refuses what is no number of milliseconds. @throws ConfigError INVALID_OPTION */
export function checkDeadlines(where: string, deadlines: Deadlines): void {
  for (const [name, value] of Object.entries(deadlines))
    if (!(value > 0))
      throw new ConfigError('INVALID_OPTION', `${where}: ${name} ${value} is not a positive number of milliseconds. Give one.`);
}

function milliseconds(env: Environment, variable: string, fallback: number): number {
  const text = env[variable] ?? '';
  if (text === '') return fallback;
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new ConfigError(
    'INVALID_VARIABLE',
    `initializeModelParallel: ${variable} is ${JSON.stringify(text)}, not a positive number of milliseconds. Correct it or unset it.`,
  );
}
