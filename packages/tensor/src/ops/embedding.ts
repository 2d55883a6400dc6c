import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { PartialSum, Placement, Replicated, Sharded } from '../placement.ts';
import { type AxisPlacement, contracted, described, misplaced, place, placed, type Placed } from '../placements/index.ts';
import { result } from '../result.ts';
import { extentOf, formatShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { empty } from './in-place.ts';
import { requireDType } from './operands.ts';
import { type GradPlacement, type GradWriter, parameterGrad } from './weight-grad.ts';

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
  if (checksPlacements()) place(out, lookedUp(placed(weight), placed(tokens), isPartial).layout);
  const gradPlacement = (grad: AnyTensor) => tableGradientPlaced(placed(weight), placed(tokens), placed(grad));
  const write = (grad: AnyTensor) => (target: number, accumulate: boolean) =>
    engine.embeddingBackward(tokens.handle, grad.handle, target, start, rows, cols, isPartial, accumulate);
  return record(out, {
    op: 'embedding',
    inputs: [weight],
    saved: [tokens],
    backward: (grad) => [tableGradient(weight, write(grad), () => gradPlacement(grad))],
    backwardWeight: (grad) => parameterGrad(weight, write(grad), () => gradPlacement(grad)),
  });
}

/** As `plainGrad`, but a bf16 table gets its gradient without a table of f32 on the way: the engine rounds rows that it has summed. */
function tableGradient(weight: AnyTensor, write: GradWriter, placement: GradPlacement): AnyTensor | null {
  if (!weight.requiresGrad || weight.asParameter !== undefined) return null;
  const grad = empty(weight.shape, weight.dtype);
  write(grad.handle, false);
  if (checksPlacements()) place(grad, placement().layout);
  return grad;
}

/** A lookup is a product of one-hot rows `[…tokens, vocab]` and the table: over a cut vocabulary each rank has a summand. */
function lookedUp(weight: Placed, tokens: Placed, othersGiveZeros: boolean): Placed {
  const [shape, rows] = [[...tokens.shape, extentOf(weight.shape, 1)], rowLabels(tokens)];
  for (const [axis, placement] of Object.entries(weight.layout ?? {}))
    if (!othersGiveZeros && placement.kind === 'sharded' && placement.dim === 0)
      throw misplaced(
        'embedding',
        `${described(axis, weight)} holds a part of the rows, and tokens of other parts would find wrong ones. Give firstRow, the number of its first row.`,
      );
  const oneHot = cutAlike(weight, tokens);
  return contracted('embedding', [oneHot, { operand: weight, labels: ['vocab', 'h'] }], { shape, labels: [...rows, 'h'] });
}

function tableGradientPlaced(weight: Placed, tokens: Placed, grad: Placed): Placed {
  const oneHot = cutAlike(weight, tokens);
  return contracted('embedding', [oneHot, { operand: grad, labels: [...rowLabels(tokens), 'h'] }], {
    shape: weight.shape,
    labels: ['vocab', 'h'],
  });
}

function rowLabels({ shape }: Placed): string[] {
  return shape.map((_, dim) => `row ${dim}`);
}

/** The one-hot rows, of whose columns each rank knows its own as it does of the table's rows. */
function cutAlike(weight: Placed, tokens: Placed) {
  const labels = [...rowLabels(tokens), 'vocab'];
  const columns: Record<string, AxisPlacement> = { ...tokens.layout };
  for (const [axis, placement] of Object.entries(weight.layout ?? {}))
    if (placement.kind === 'sharded' && placement.dim === 0)
      columns[axis] = { kind: 'sharded', dim: tokens.shape.length, name: placement.name };
  const isKnown = tokens.layout !== undefined || Object.keys(columns).length > 0;
  return { operand: { shape: [...tokens.shape, extentOf(weight.shape, 0)], layout: isKnown ? columns : undefined }, labels };
}
