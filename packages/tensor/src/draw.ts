import { ConfigError } from '@megatron-ts/errors';
import { ambient } from './ambient.ts';
import { philoxKey } from './initialize-values.ts';
import { where } from './where-in-model.ts';

/** What a dropout leaves out, and what it draws from. The draw of an element knows nothing but the key and its place in the whole model. */
export interface DrawOptions {
  /** Share of the elements that are left out, from 0 to below 1; the others are divided by 1 - p. */
  readonly p: number;
  /** Tells the dropouts of one module apart; `''` by default. */
  readonly site?: string;
  /** Two words; by default made of the seed and the number of the running `ctx.step`, the running module's path and `site`. */
  readonly key?: readonly [number, number];
  /** Number of the first sample of the batch among those of all ranks; by default that of the running microbatch. */
  readonly firstSample?: number;
}

/** A draw with nothing left open; p is 0 where nothing is dropped. */
export interface Draw {
  /** Share of the elements that are left out. */
  readonly p: number;
  /** Key of the generator. */
  readonly key: readonly [number, number];
  /** Number of the first sample of the batch among those of all ranks. */
  readonly firstSample: number;
}

const off: Draw = { p: 0, key: [0, 0], firstSample: 0 };

/**
 * What operation `op` draws from here and now, for a batch of `batch` samples. Nothing is dropped inside `evaluate`.
 * @throws ConfigError OUTSIDE_STEP, INVALID_OPTION
 */
export function drawOf(op: string, { p, site, key, firstSample }: DrawOptions, batch: number): Draw {
  if (p === 0 || ambient.evaluating) return off;
  const first = firstSample ?? ambient.microbatch * batch;
  requireWords(op, { firstSample: first, ...(key === undefined ? {} : { 'key[0]': key[0], 'key[1]': key[1] }) });
  return { p, key: key ?? keyHere(op, site), firstSample: first };
}

function keyHere(op: string, site = ''): readonly [number, number] {
  const { seed, step, frame } = ambient;
  if (seed === undefined || step === undefined)
    throw new ConfigError(
      'OUTSIDE_STEP',
      `${where(op)}: what is dropped is drawn from the seed and the number of a step, and no step runs. Call the model inside `
        + 'ctx.step(n, …), or inside evaluate(…) for a forward without dropout.',
    );
  const keyOf = (step: number) => philoxKey(seed, `${frame?.module.path ?? ''} ${site} at step ${step}`);
  const key = keyOf(step);
  ambient.capture?.noteKey(key, keyOf);
  return key;
}

/**
 * Runs `f` as microbatch `number` of the step: sample i of a batch of b is then sample `number · b + i` for dropout. Number the microbatches
 * of all data-parallel ranks through, as rank · microbatches of a rank + microbatch, so that they draw apart and as one rank would.
 * `runSchedule` does so by itself; without either, a step is one microbatch on each data-parallel rank.
 * @throws ConfigError INVALID_OPTION
 */
export function withMicrobatch<T>(number: number, f: () => T): T {
  requireWords('withMicrobatch', { number });
  const before = ambient.microbatch;
  ambient.microbatch = number;
  try {
    return f();
  } finally {
    ambient.microbatch = before;
  }
}

/** Holds shares that are left out against what they can be. @throws ConfigError INVALID_OPTION */
export function requireDropoutRates(op: string, rates: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(rates))
    if (!(value >= 0 && value < 1))
      throw new ConfigError('INVALID_OPTION', `${where(op)}: ${name} is ${value}. Use a number from 0 to below 1.`, { fields: rates });
}

/** Holds what the generator counts with against 32 bits. @throws ConfigError INVALID_OPTION */
export function requireWords(op: string, words: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(words))
    if (!(Number.isInteger(value) && value >= 0 && value < 2 ** 32))
      throw new ConfigError('INVALID_OPTION', `${where(op)}: ${name} is ${value}. Use a whole number from 0 to below 2^32.`, {
        fields: words,
      });
}
