import { readFile } from 'node:fs/promises';
import { ConfigError } from '@megatron-ts/errors';

/** The tokens of one file. */
export interface TokenFile {
  /** Where it was read. */
  readonly path: string;
  /** One byte per token, in the order of the file. */
  readonly tokens: Uint8Array;
  /** Number of different tokens. */
  readonly vocabularySize: number;
}

/** Tokens to learn from, and tokens kept back to measure with. */
export interface TokenSplit {
  /** The first part. */
  readonly train: Uint8Array;
  /** The last part. */
  readonly validation: Uint8Array;
}

/**
 * Reads a text file as byte-level tokens.
 * @throws ConfigError UNREADABLE_DATA with the path and the cause, also for an empty file.
 */
export async function readTokens(path: string): Promise<TokenFile> {
  let tokens: Uint8Array;
  try {
    tokens = await readFile(path);
  } catch (error) {
    // Node ends its message with the path once more.
    const cause = (error as Error).message.split(',')[0];
    const sentence = `readTokens: ${JSON.stringify(path)} cannot be read (${cause}). Give the path of a text file that this user may read.`;
    throw new ConfigError('UNREADABLE_DATA', sentence, { fields: { path }, cause: error });
  }
  if (tokens.length === 0) {
    throw new ConfigError('UNREADABLE_DATA', `readTokens: ${JSON.stringify(path)} is empty. Give the path of a text file.`, {
      fields: { path },
    });
  }
  return Object.freeze({ path, tokens, vocabularySize: 256 });
}

/**
 * Keeps the last part of the tokens back, without copying.
 * @param validationFraction part kept back, at least 0 and below 1.
 * @throws ConfigError OUT_OF_RANGE
 */
export function splitTokens(tokens: Uint8Array, validationFraction: number): TokenSplit {
  if (!(validationFraction >= 0 && validationFraction < 1)) {
    const sentence = `splitTokens: validationFraction is ${validationFraction}. Use a number of at least 0 and below 1, such as 0.1.`;
    throw new ConfigError('OUT_OF_RANGE', sentence, { fields: { validationFraction } });
  }
  const numTrain = tokens.length - Math.floor(tokens.length * validationFraction);
  return Object.freeze({ train: tokens.subarray(0, numTrain), validation: tokens.subarray(numTrain) });
}
