import { ConfigError } from '@megatron-ts/errors';

/** Variables of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The value of a variable; an empty one counts as not set, as in a shell. */
export function textOf(env: Environment, name: string): string | undefined {
  const text = env[name];
  return text === undefined || text.trim() === '' ? undefined : text.trim();
}

/**
 * The value of a variable that counts something; undefined when it is not set.
 * @throws ConfigError INVALID_VARIABLE when it is no whole number, or below `least`
 */
export function wholeNumberOf(env: Environment, name: string, least = 0): number | undefined {
  const text = textOf(env, name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new ConfigError(
    'INVALID_VARIABLE',
    `launch: ${name} is ${JSON.stringify(text)}. Set it to a whole number from ${least}, or unset it.`,
    {
      fields: { variable: name, value: text },
    },
  );
}
