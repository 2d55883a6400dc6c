import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { record, recordAll } from '../node.ts';
import type { Whole } from '../placement.ts';
import { combined, described, misplaced, overRows, place, placed, placedIf } from '../placements/index.ts';
import { result } from '../result.ts';
import { extentOf, formatShape, sameShape } from '../shape.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireStreams } from './operands.ts';
import { targetOf } from './weight-grad.ts';

const outs = new Uint32Array(3);
// The engine's codes.
const kinds = { layerNorm: 0, rmsNorm: 1 };

/** Options of `rmsNorm`. */
export interface RmsNormOptions {
  /** Scale, `[h]`. */
  readonly weight: AnyTensor;
  /** Added to the variance; 1e-5 by default. */
  readonly eps?: number;
}

/** Options of `layerNorm`. */
export interface LayerNormOptions extends RmsNormOptions {
  /** Shift, `[h]`. */
  readonly bias: AnyTensor;
}

/** What is added before a norm. */
export interface Addends<P extends Whole> {
  /** The residual stream, of the shape of `x`. */
  readonly residual: Tensor<P>;
  /** Bias of the layer that made `x`, `[h]`; none by default. */
  readonly addedBias?: AnyTensor | undefined;
}

/** A sum and what a norm makes of it. */
export interface SumAndNorm<P extends Whole> {
  /** `residual + (x + addedBias)`. */
  readonly sum: Tensor<P>;
  /** The norm of the sum. */
  readonly normed: Tensor<P>;
}

interface Norm {
  readonly kind: keyof typeof kinds;
  readonly x: AnyTensor;
  readonly weight: AnyTensor;
  readonly bias?: AnyTensor | undefined;
  readonly residual?: AnyTensor | undefined;
  readonly addedBias?: AnyTensor | undefined;
  readonly eps: number;
}

/** Rows and columns of the input. */
function sizesOf({ kind, x, weight, bias, residual, addedBias }: Norm): { readonly rows: number; readonly cols: number } {
  const vectors = defined({ weight, bias, addedBias });
  requireStreams(kind, residual === undefined ? { x } : { x, residual }, vectors);
  const cols = x.shape.length === 0 ? 0 : extentOf(x.shape, x.shape.length - 1);
  if (cols === 0 || Object.values(vectors).some(({ numel }) => numel !== cols)) throw unfitting(kind, x, vectors);
  if (residual !== undefined && !sameShape(residual.shape, x.shape))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where(kind)}: x ${formatShape(x.shape)} and residual ${formatShape(residual.shape)} differ. Give both the same shape.`,
    );
  return { rows: x.numel / cols, cols };
}

function unfitting(kind: string, x: AnyTensor, vectors: Readonly<Record<string, AnyTensor>>): ShapeError {
  const names = Object.keys(vectors);
  const list = ['x', ...names].map((name) => `${name} ${formatShape((vectors[name] ?? x).shape)}`);
  const all = `${list.slice(0, -1).join(', ')} and ${list.at(-1)}`;
  const which = names.length === 1 ? 'The weight needs' : 'Weight and bias need';
  return new ShapeError('SHAPE_MISMATCH', `${where(kind)}: ${all} do not fit. ${which} the last extent of x.`);
}

/** The entries that are there. */
function defined(given: Readonly<Record<string, AnyTensor | undefined>>): Record<string, AnyTensor> {
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, AnyTensor] => entry[1] !== undefined));
}

interface Forward {
  readonly normed: AnyTensor;
  readonly stats: AnyTensor;
  /** Absent where nothing was added. */
  readonly sum: AnyTensor | undefined;
  /** Gradient of the sum, then those of the vectors that are no parameters. */
  readonly backward: (grad: AnyTensor, carried: AnyTensor | undefined) => readonly [AnyTensor, ...(AnyTensor | null)[]];
}

function run(norm: Norm): Forward {
  const { kind, x, weight, bias, residual, addedBias, eps } = norm;
  const { rows, cols } = sizesOf(norm);
  const handles = [x, addedBias, residual, weight, bias].map((operand) => operand?.handle ?? 0);
  engine.norm(kinds[kind], Uint32Array.from(handles), rows, cols, eps, outs);
  const [normedHandle, statsHandle, sumHandle] = outs as unknown as [number, number, number];
  const form = { shape: x.shape, dtype: x.dtype, placement: x.placement as Whole };
  const isAdded = residual !== undefined || addedBias !== undefined;
  const sum: AnyTensor | undefined = isAdded ? result(kind, sumHandle, form) : undefined;
  const normed = result(kind, normedHandle, form);
  if (checksPlacements()) placeNorm(norm, normed, sum);
  const stats = new Tensor(statsHandle, { shape: [rows, 2], dtype: 'f32', placement: 'replicated' }); // mean and 1 / deviation of each row
  const backward: Forward['backward'] = (grad, carried) => {
    const through = () => combined(kind, x.shape, { addends: [placed(grad)], factors: [placed(sum ?? x), placed(weight)] });
    const throughSum = () => (carried === undefined ? through() : combined(kind, x.shape, { addends: [through(), placed(carried)] }));
    const targets = [
      targetOf(weight, () => overRows(kind, through())),
      targetOf(bias, () => overRows(kind, placed(grad))),
      targetOf(addedBias, () => overRows(kind, throughSum())),
    ];
    const operands = Uint32Array.of(grad.handle, (sum ?? x).handle, weight.handle, stats.handle, carried?.handle ?? 0);
    const accumulate = targets.reduce((bits, target, i) => bits | (target.accumulate ? 1 << i : 0), 0);
    const into = Uint32Array.from(targets, ({ handle }) => handle);
    const dx = result(kind, engine.normBackward(kinds[kind], operands, rows, cols, into, accumulate), form);
    if (checksPlacements()) place(dx, throughSum().layout);
    return [dx, ...targets.map(({ gradient }) => gradient())];
  };
  return { normed, stats, sum, backward };
}

/** A norm needs its rows whole, and values that are no summands. */
function placeNorm({ kind, x, weight, bias, residual, addedBias }: Norm, normed: AnyTensor, sum: AnyTensor | undefined): void {
  const added = combined(kind, x.shape, { addends: [x, residual, addedBias].flatMap(placedIf) });
  if (sum !== undefined) place(sum, added.layout);
  for (const [axis, placement] of Object.entries(added.layout ?? {}))
    if (placement.kind === 'sharded' && placement.dim === x.shape.length - 1)
      throw misplaced(
        kind,
        `${described(axis, added)} is normed over its last dim, of which each rank holds a part. Gather it over ${axis} first.`,
      );
  place(normed, combined(kind, x.shape, { factors: [added, ...[weight, bias].flatMap(placedIf)] }).layout);
}

function alone(norm: Norm): AnyTensor {
  const { kind, x, weight, bias } = norm;
  const { normed, stats, backward } = run(norm);
  return record(normed, {
    op: kind,
    inputs: bias === undefined ? [x, weight] : [x, weight, bias],
    saved: [x, weight, stats],
    backward: (grad) => backward(grad, undefined),
  });
}

function added(norm: Norm & { readonly residual: AnyTensor }): { readonly sum: AnyTensor; readonly normed: AnyTensor } {
  const { kind, x, weight, bias, residual, addedBias } = norm;
  const { normed, stats, sum = residual, backward } = run(norm);
  const vectors = [weight, bias, addedBias];
  recordAll([sum, normed], {
    op: kind === 'layerNorm' ? 'addLayerNorm' : 'addRmsNorm',
    inputs: [x, residual, ...vectors.filter((vector) => vector !== undefined)],
    saved: [sum, weight, stats],
    backward: (carried, grad) => {
      const [dx, ...made] = backward(grad as AnyTensor, carried);
      return [dx, dx, ...made.filter((_, i) => vectors[i] !== undefined)];
    },
  });
  return { sum, normed };
}

/**
 * `(x - mean) / sqrt(var + eps) · weight + bias` over the last dim of `x` `[…, h]`.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, DTYPE_MISMATCH
 * @source Ba, Kiros and Hinton 2016, equation 4
 */
export function layerNorm<P extends Whole>(x: Tensor<P>, { weight, bias, eps = 1e-5 }: LayerNormOptions): Tensor<P> {
  return alone({ kind: 'layerNorm', x, weight, bias, eps });
}

/**
 * `x / sqrt(mean(x²) + eps) · weight` over the last dim of `x` `[…, h]`.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, DTYPE_MISMATCH
 * @source Zhang and Sennrich 2019, equation 4
 */
export function rmsNorm<P extends Whole>(x: Tensor<P>, { weight, eps = 1e-5 }: RmsNormOptions): Tensor<P> {
  return alone({ kind: 'rmsNorm', x, weight, eps });
}

/**
 * `residual + (x + addedBias)` and its layer norm in one pass; backward is one pass too. Bits are those of the additions and
 * `layerNorm` one after the other, but for the gradient of `addedBias`, whose rows are added in another order.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, DTYPE_MISMATCH
 */
export function addLayerNorm<P extends Whole>(x: Tensor<P>, options: LayerNormOptions & Addends<P>): SumAndNorm<P> {
  return added({ kind: 'layerNorm', x, eps: 1e-5, ...options });
}

/** The same with `rmsNorm`. @throws ShapeError SHAPE_MISMATCH */
export function addRmsNorm<P extends Whole>(x: Tensor<P>, options: RmsNormOptions & Addends<P>): SumAndNorm<P> {
  return added({ kind: 'rmsNorm', x, eps: 1e-5, ...options });
}
