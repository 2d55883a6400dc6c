import { ConfigError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { requireSizes } from './divide-over-ranks.ts';

/** Rows of a vocabulary that a rank holds. */
export interface VocabRange {
  /** First row. */
  readonly start: number;
  /** One past the last row. */
  readonly end: number;
}

/**
 * The rows of one rank of the group: as even as can be, the first ranks holding one more where the vocabulary does not divide.
 * Nothing is padded.
 * @param rank - rank in the group; this one by default
 * @throws ConfigError INVALID_OPTION when there are fewer tokens than ranks
 */
export function vocabRange(vocabSize: number, { size, rank: own }: ProcessGroup, rank: number = own): VocabRange {
  requireSizes('vocabRange', { vocabSize });
  if (vocabSize < size) {
    const sentence = `vocabRange: vocabSize ${vocabSize} is less than tensorModelParallelSize ${size}. Use at most ${vocabSize} ranks.`;
    throw new ConfigError('INVALID_OPTION', sentence, { fields: { vocabSize, tensorModelParallelSize: size } });
  }
  const even = Math.floor(vocabSize / size);
  const larger = vocabSize % size;
  const startOf = (at: number) => at * even + Math.min(at, larger);
  return { start: startOf(rank), end: startOf(rank + 1) };
}
