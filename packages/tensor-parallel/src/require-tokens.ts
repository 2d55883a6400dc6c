import { DTypeError, ShapeError } from '@megatron-ts/errors';
import { type AnyTensor, firstOutside, whereInModel } from '@megatron-ts/tensor';

/** Which tokens there are. */
interface Vocabulary {
  /** Their number. */
  readonly vocabSize: number;
  /** A number that stands for no token; none by default. */
  readonly ignoreIndex?: number | undefined;
}

/**
 * Refuses tokens that no shard of the vocabulary holds: each rank alone would take them for another's.
 * On a device the engine refuses them where a value is read next.
 * @throws ShapeError INDEX_OUT_OF_RANGE, DTypeError UNSUPPORTED_DTYPE
 */
export function requireTokens(op: string, tokens: AnyTensor, { vocabSize, ignoreIndex }: Vocabulary): void {
  if (tokens.dtype !== 'i32')
    throw new DTypeError('UNSUPPORTED_DTYPE', `${whereInModel(op)}: tokens are ${tokens.dtype}, not i32. Convert them with to('i32').`);
  const found = firstOutside(tokens, { extent: vocabSize, ignored: ignoreIndex });
  if (found === undefined) return;
  const { index: token, position } = found;
  const place = whereInModel(op);
  const sentence = `${place}: token ${token} at position ${position} is not in a vocabulary of ${vocabSize}. Use 0 to ${vocabSize - 1}.`;
  throw new ShapeError('INDEX_OUT_OF_RANGE', sentence, { fields: { token, position, vocabSize } });
}
