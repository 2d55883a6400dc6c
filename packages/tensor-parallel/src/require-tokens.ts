import { DTypeError, ShapeError } from '@megatron-ts/errors';
import { type AnyTensor, whereInModel } from '@megatron-ts/tensor';

/** Which tokens there are. */
interface Vocabulary {
  /** Their number. */
  readonly vocabSize: number;
  /** A number that stands for no token; none by default. */
  readonly ignoreIndex?: number | undefined;
}

/**
 * Refuses tokens that no shard of the vocabulary holds: each rank alone would take them for another's.
 * @throws ShapeError INDEX_OUT_OF_RANGE, DTypeError UNSUPPORTED_DTYPE
 */
export function requireTokens(op: string, tokens: AnyTensor, { vocabSize, ignoreIndex }: Vocabulary): void {
  if (tokens.dtype !== 'i32')
    throw new DTypeError('UNSUPPORTED_DTYPE', `${whereInModel(op)}: tokens are ${tokens.dtype}, not i32. Convert them with to('i32').`);
  const values = tokens.toArray<'i32'>();
  const at = values.findIndex((token) => (token < 0 || token >= vocabSize) && token !== ignoreIndex);
  if (at === -1) return;
  const token = values[at];
  const place = whereInModel(op);
  const sentence = `${place}: token ${token} at position ${at} is not in a vocabulary of ${vocabSize}. Use 0 to ${vocabSize - 1}.`;
  throw new ShapeError('INDEX_OUT_OF_RANGE', sentence, { fields: { token, position: at, vocabSize } });
}
