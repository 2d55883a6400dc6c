import { ShapeError } from '@megatron-ts/errors';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { PartialSum, Placement, Replicated, Sharded } from '../placement.ts';
import { result } from '../result.ts';
import { extentOf, formatShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { empty } from './in-place.ts';
import { requireDType } from './operands.ts';
import { type GradWriter, parameterGrad } from './weight-grad.ts';

/** Which rows of the table this rank holds. */
export interface EmbeddingOptions {
  /** Number of the first row held here; tokens of other rows give zeros. By default the table is whole and other tokens are an error. */
  readonly firstRow?: number;
}

/** Rows of a vocabulary shard: tokens of other shards give zeros, so that the sum over ranks is the row. */
export function embedding(
  weight: Tensor<Sharded<'tp', 'vocab'>>,
  tokens: AnyTensor,
  options: EmbeddingOptions & { readonly firstRow: number },
): Tensor<PartialSum<'tp'>>;
/**
 * Rows of `weight` `[vocab, h]` named by `tokens` (i32, any shape): `[…tokens, h]`.
 * @throws ShapeError SHAPE_MISMATCH, EngineError for a token outside the table
 */
export function embedding(weight: Tensor<Replicated>, tokens: AnyTensor, options?: EmbeddingOptions): Tensor;
export function embedding(weight: AnyTensor, tokens: AnyTensor, { firstRow }: EmbeddingOptions = {}): AnyTensor {
  requireDType('embedding', { tokens }, 'i32');
  requireDType('embedding', { weight }, 'f32', 'bf16');
  if (weight.shape.length !== 2)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('embedding')}: weight ${formatShape(weight.shape)} is not [vocab, h]. Give a table of two dims.`,
    );
  const [rows, cols] = [extentOf(weight.shape, 0), extentOf(weight.shape, 1)];
  const start = firstRow ?? 0;
  const isPartial = firstRow !== undefined;
  const placement: Placement = isPartial && weight.placement !== 'replicated' ? 'partial sum over tp' : 'replicated';
  const out = result('embedding', engine.embedding(weight.handle, tokens.handle, start, rows, cols, isPartial), {
    shape: [...tokens.shape, cols],
    dtype: weight.dtype,
    placement,
  });
  const write = (grad: AnyTensor) => (target: number, accumulate: boolean) =>
    engine.embeddingBackward(tokens.handle, grad.handle, target, start, rows, cols, isPartial, accumulate);
  return record(out, {
    op: 'embedding',
    inputs: [weight],
    saved: [tokens],
    backward: (grad) => [tableGradient(weight, write(grad))],
    backwardWeight: (grad) => parameterGrad(weight, write(grad)),
  });
}

/** As `plainGrad`, but a bf16 table gets its gradient without a table of f32 on the way: the engine rounds rows that it has summed. */
function tableGradient(weight: AnyTensor, write: GradWriter): AnyTensor | null {
  if (!weight.requiresGrad || weight.asParameter !== undefined) return null;
  const grad = empty(weight.shape, weight.dtype);
  write(grad.handle, false);
  return grad;
}
