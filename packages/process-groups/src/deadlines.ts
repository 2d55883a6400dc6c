import { ConfigError } from '@megatron-ts/errors';
import type { Environment } from '@megatron-ts/launch';

/** Deadlines of a group, in milliseconds. */
export interface Deadlines {
  /** An operation that takes longer fails and names who is missing. */
  readonly timeoutMs: number;
  /** An operation that takes longer is warned about. */
  readonly slowMs: number;
  /** How long ranks may take to arrive: the limit of joining and of a group's first operation, where `timeoutMs` is not longer. */
  readonly joinTimeoutMs: number;
}

/**
 * What options leave open comes from `MEGATRON_TIMEOUT_MS`, `MEGATRON_SLOW_MS` and `MEGATRON_JOIN_TIMEOUT_MS`.
 * @throws ConfigError INVALID_OPTION, INVALID_VARIABLE
 */
export function deadlinesFor(options: { [Name in keyof Deadlines]: number | undefined }, env: Environment = process.env): Deadlines {
  const timeoutMs = options.timeoutMs ?? milliseconds(env, 'MEGATRON_TIMEOUT_MS', 600_000);
  const deadlines = {
    timeoutMs,
    slowMs: options.slowMs ?? milliseconds(env, 'MEGATRON_SLOW_MS', 5000),
    joinTimeoutMs: options.joinTimeoutMs ?? milliseconds(env, 'MEGATRON_JOIN_TIMEOUT_MS', Math.max(timeoutMs, 1_800_000)),
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
