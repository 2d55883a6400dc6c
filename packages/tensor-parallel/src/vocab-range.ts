import { ConfigError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { requireSizes } from './divide-over-ranks.ts';

/** How many tokens there are, and how their rows are cut over ranks. */
export interface Vocabulary {
  /** Number of tokens. */
  readonly vocabSize: number;
  /**
   * What the rows of each rank are a multiple of; all ranks then have equally many, and the last ones of the last rank pad its memory. No
   * token has them, they are zero, get neither probability nor gradient, and are no part of the model. By default nothing is padded.
   */
  readonly vocabMultiple?: number | undefined;
}

/** Rows of a vocabulary that a rank holds. */
export interface VocabRange {
  /** First row. */
  readonly start: number;
  /** One past the last row. */
  readonly end: number;
  /** Rows in memory: these, and those that pad it. */
  readonly rows: number;
}

/**
 * The rows of one rank of the group: as even as can be, the first ranks holding one more where the vocabulary does not divide; or, with
 * a `vocabMultiple`, equally many rows of memory for each rank.
 * @param rank - rank in the group; this one by default
 * @throws ConfigError INVALID_OPTION when a rank would have no token
 */
export function vocabRange(vocabulary: number | Vocabulary, { size, rank: own }: ProcessGroup, rank: number = own): VocabRange {
  const { vocabSize, vocabMultiple }: Vocabulary = typeof vocabulary === 'number' ? { vocabSize: vocabulary } : vocabulary;
  requireSizes('vocabRange', { vocabSize, ...(vocabMultiple === undefined ? {} : { vocabMultiple }) });
  if (vocabSize < size) {
    const sentence = `vocabRange: vocabSize ${vocabSize} is less than tensorModelParallelSize ${size}. Use at most ${vocabSize} ranks.`;
    throw new ConfigError('INVALID_OPTION', sentence, { fields: { vocabSize, tensorModelParallelSize: size } });
  }
  if (vocabMultiple !== undefined) return paddedRange({ vocabSize, vocabMultiple }, size, rank);
  const even = Math.floor(vocabSize / size);
  const larger = vocabSize % size;
  const startOf = (at: number) => at * even + Math.min(at, larger);
  const [start, end] = [startOf(rank), startOf(rank + 1)];
  return { start, end, rows: end - start };
}

function paddedRange(
  { vocabSize, vocabMultiple }: { readonly vocabSize: number; readonly vocabMultiple: number },
  size: number,
  rank: number,
): VocabRange {
  const rows = Math.ceil(vocabSize / size / vocabMultiple) * vocabMultiple;
  if (rows * (size - 1) >= vocabSize) {
    const sentence =
      `vocabRange: vocabMultiple ${vocabMultiple} gives each of ${size} ranks ${rows} rows of a vocabulary of ${vocabSize}, and the last `
      + 'none of its tokens. Use a smaller vocabMultiple, or fewer ranks.';
    throw new ConfigError('INVALID_OPTION', sentence, { fields: { vocabSize, vocabMultiple, tensorModelParallelSize: size } });
  }
  return { start: rank * rows, end: Math.min((rank + 1) * rows, vocabSize), rows };
}
