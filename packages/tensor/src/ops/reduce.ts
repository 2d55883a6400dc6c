import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { layoutWords } from '../layout-words.ts';
import { record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { place, placed, placeGradient, reduced } from '../placements/index.ts';
import { result } from '../result.ts';
import { extentOf, formatShape, resolveDim, type Shape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { knownUniform, noteUniform } from '../uniform-value.ts';
import { where } from '../where-in-model.ts';
import { div, mul } from './binary.ts';
import { compareRaw } from './compare.ts';
import { requireDType } from './operands.ts';
import { expand, reshape } from './view.ts';

// The engine's codes.
const codes = { sum: 0, mean: 1, max: 2, min: 3 };
type Op = keyof typeof codes;

/** Dims to reduce over: one, several, or all when left out. */
export type Dims = number | readonly number[] | undefined;

/** How a reduction leaves its dims. */
export interface ReduceOptions {
  /** Keep the reduced dims with extent 1. */
  readonly keepDims?: boolean;
}

interface Plan {
  readonly mask: readonly number[];
  /** Shape with reduced dims 1. */
  readonly kept: Shape;
  /** Shape without them. */
  readonly dropped: Shape;
  readonly count: number;
}

function planOf(op: Op, shape: Shape, dims: Dims): Plan {
  const list =
    dims === undefined ? shape.map((_, dim) => dim) : (typeof dims === 'number' ? [dims] : dims).map((dim) => resolveDim(op, shape, dim));
  if (new Set(list).size !== list.length)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where(op)}: dims ${formatShape(dims as Shape)} name a dim of ${formatShape(shape)} twice. Name each once.`,
    );
  const mask = shape.map((_, dim) => (list.includes(dim) ? 1 : 0));
  const count = list.reduce((product, dim) => product * extentOf(shape, dim), 1);
  if (count === 0 && (op === 'max' || op === 'min'))
    throw new ShapeError('SHAPE_MISMATCH', `${where(op)}: shape ${formatShape(shape)} has no elements to choose from. Give at least one.`);
  return {
    mask,
    kept: shape.map((extent, dim) => (mask[dim] === 1 ? 1 : extent)),
    dropped: shape.filter((_, dim) => mask[dim] === 0),
    count,
  };
}

function apply(op: Op, x: AnyTensor, dims: Dims, { keepDims = false }: ReduceOptions): AnyTensor {
  if (x.dtype !== 'f32') requireDType(op, { x }, 'f32', 'f64', 'bf16');
  const plan = planOf(op, x.shape, dims);
  const handle = engine.reduce(codes[op], x.handle, layoutWords(op, [x.shape.length, ...x.shape, ...plan.mask]));
  const y = result(op, handle, { shape: keepDims ? plan.kept : plan.dropped, dtype: x.dtype, placement: x.placement as Placement });
  if (checksPlacements()) place(y, reduced(op, placed(x), { op, mask: plan.mask, keepDims }).layout);
  const extreme = op === 'max' || op === 'min';
  return record(y, {
    op,
    inputs: [x],
    saved: extreme ? [x, y] : [],
    backward: (grad) => [extreme ? shareAmongEqual(grad, x, y, plan) : spread(op, grad, x, plan)],
  });
}

function spread(op: Op, grad: AnyTensor, x: AnyTensor, plan: Plan): AnyTensor {
  const whole = expand(reshape(grad, plan.kept), x.shape);
  if (checksPlacements()) placeGradient(x, whole, false);
  const spreadOut = op === 'mean' ? mul(whole, 1 / plan.count) : whole;
  const value = x.dtype === 'f32' ? knownUniform(grad) : undefined;
  if (value !== undefined) noteUniform(spreadOut, op === 'mean' ? Math.fround(value * Math.fround(1 / plan.count)) : value);
  return spreadOut;
}

/** The gradient of an extreme value is shared by the elements that attain it, as in PyTorch's amax. */
function shareAmongEqual(grad: AnyTensor, x: AnyTensor, y: AnyTensor, plan: Plan): AnyTensor {
  const attained = compareRaw('eq', x, reshape(y.detach(), plan.kept)).to(x.dtype);
  const reduced = plan.mask.flatMap((bit, dim) => (bit === 1 ? [dim] : []));
  return mul(attained, div(reshape(grad, plan.kept), sum(attained, reduced, { keepDims: true })));
}

/** Sum over `dims` (default: all). */
export function sum<P extends Placement>(x: Tensor<P>, dims?: Dims, options: ReduceOptions = {}): Tensor<P> {
  return apply('sum', x, dims, options);
}

/** Mean over `dims` (default: all). */
export function mean<P extends Placement>(x: Tensor<P>, dims?: Dims, options: ReduceOptions = {}): Tensor<P> {
  return apply('mean', x, dims, options);
}

/** Largest over `dims` (default: all). @throws ShapeError SHAPE_MISMATCH */
export function max<P extends Placement>(x: Tensor<P>, dims?: Dims, options: ReduceOptions = {}): Tensor<P> {
  return apply('max', x, dims, options);
}

/** Smallest over `dims` (default: all). @throws ShapeError SHAPE_MISMATCH */
export function min<P extends Placement>(x: Tensor<P>, dims?: Dims, options: ReduceOptions = {}): Tensor<P> {
  return apply('min', x, dims, options);
}
