import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { layoutWords, requireWord } from '../layout-words.ts';
import { record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { amongZeros, combined, layoutOf, moved, place, placed, reshaped } from '../placements/index.ts';
import { result } from '../result.ts';
import { broadcastStrides, extentOf, formatShape, numel, requireShape, resolveDim, sameShape, type Shape, stridesOf } from '../shape.ts';
import { type AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { sumToShape } from './binary.ts';
import { empty, filled } from './in-place.ts';

/** The same memory under another shape, unrecorded. @param offset - first element */
export function alias<P extends Placement>(x: Tensor<P>, shape: Shape, offset = 0): Tensor<P> {
  const view = new Tensor<P>(engine.alias(x.handle, offset, numel(shape)), { shape: [...shape], dtype: x.dtype, placement: x.placement });
  return checksPlacements() ? place(view, aliasedLayout(x, shape)) : view;
}

/** Of a part of the memory it is not known how it lies in a tensor that is cut. */
function aliasedLayout(x: AnyTensor, shape: Shape) {
  const isWhole = numel(shape) === x.numel;
  return (isWhole ? reshaped(placed(x), shape) : moved(placed(x), shape, () => undefined)).layout;
}

function inferred(x: AnyTensor, shape: Shape): Shape {
  const unknown = shape.indexOf(-1);
  const known = shape.reduce((product, extent) => (extent === -1 ? product : product * extent), 1);
  const full = unknown === -1 ? shape : shape.map((extent, dim) => (dim === unknown ? x.numel / known : extent));
  if (numel(full) === x.numel && full.every((extent) => Number.isInteger(extent) && extent >= 0)) return full;
  throw new ShapeError(
    'SHAPE_MISMATCH',
    `${where('reshape')}: ${formatShape(x.shape)} has ${x.numel} elements and ${formatShape(shape)} asks for another number. Give extents whose product is ${x.numel}, at most one of them -1.`,
  );
}

/** The same values in another shape; one extent may be -1. Shares the memory. @throws ShapeError SHAPE_MISMATCH */
export function reshape<P extends Placement>(x: Tensor<P>, shape: Shape): Tensor<P> {
  const target = inferred(x, shape);
  return record(alias(x, target), { op: 'reshape', inputs: [x], saved: [], backward: (grad) => [alias(grad, x.shape)] });
}

interface View {
  readonly shape: Shape;
  readonly strides: Shape;
  readonly offset: number;
}

function readView(op: string, x: AnyTensor, { shape, strides, offset }: View): AnyTensor {
  requireWord(op, offset);
  const handle = engine.strided(x.handle, layoutWords(op, [shape.length, ...shape, ...strides]), offset);
  return result(op, handle, { shape, dtype: x.dtype, placement: x.placement as Placement });
}

/** Dims in another order. @throws ShapeError SHAPE_MISMATCH */
export function permute<P extends Placement>(x: Tensor<P>, order: readonly number[]): Tensor<P> {
  const dims = order.map((dim) => resolveDim('permute', x.shape, dim));
  if (dims.length !== x.shape.length || new Set(dims).size !== dims.length)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('permute')}: order ${formatShape(order)} does not name each dim of ${formatShape(x.shape)} once. Name each exactly once.`,
    );
  const strides = stridesOf(x.shape);
  const view = { shape: dims.map((dim) => extentOf(x.shape, dim)), strides: dims.map((dim) => strides[dim] ?? 0), offset: 0 };
  const inverse = dims.map((_, dim) => dims.indexOf(dim));
  const y = readView('permute', x, view);
  if (checksPlacements()) place(y, moved(placed(x), y.shape, (dim) => inverse[dim]).layout);
  return record(y, { op: 'permute', inputs: [x], saved: [], backward: (grad) => [permute(grad, inverse)] });
}

/** Two dims exchanged. */
export function transpose<P extends Placement>(x: Tensor<P>, dim0: number, dim1: number): Tensor<P> {
  const [a, b] = [resolveDim('transpose', x.shape, dim0), resolveDim('transpose', x.shape, dim1)];
  return permute(
    x,
    x.shape.map((_, dim) => (dim === a ? b : dim === b ? a : dim)),
  );
}

/** A range along a dim. */
export interface Range {
  /** First element. */
  readonly start: number;
  /** One past the last; the extent by default. */
  readonly end?: number;
}

/** Elements `start` to `end` along `dim`, copied. @throws ShapeError INDEX_OUT_OF_RANGE */
export function slice<P extends Placement>(x: Tensor<P>, dim: number, { start, end }: Range): Tensor<P> {
  const at = resolveDim('slice', x.shape, dim);
  const extent = extentOf(x.shape, at);
  const stop = end ?? extent;
  if (!(Number.isInteger(start) && Number.isInteger(stop) && 0 <= start && start <= stop && stop <= extent))
    throw new ShapeError(
      'INDEX_OUT_OF_RANGE',
      `${where('slice')}: ${start} to ${stop} does not lie in dim ${at} of ${formatShape(x.shape)}. Use 0 <= start <= end <= ${extent}.`,
    );
  const strides = stridesOf(x.shape);
  const view = { shape: x.shape.map((own, i) => (i === at ? stop - start : own)), strides, offset: start * (strides[at] ?? 0) };
  const backward = (grad: AnyTensor) => {
    const whole = filled(x.shape, { dtype: grad.dtype });
    engine.stridedSet(whole.handle, grad.handle, layoutWords('slice', [view.shape.length, ...view.shape, ...view.strides]), view.offset);
    return [checksPlacements() ? place(whole, amongZeros('slice', placed(grad), { at, of: placed(x) })) : whole];
  };
  const y = readView('slice', x, view);
  if (checksPlacements()) place(y, layoutOf(x));
  return record(y, { op: 'slice', inputs: [x], saved: [], backward });
}

/** Repeated to `shape` by broadcasting. @throws ShapeError SHAPE_MISMATCH, INVALID_EXTENT, TOO_LARGE */
export function expand<P extends Placement>(x: Tensor<P>, shape: Shape): Tensor<P> {
  requireShape('expand', shape);
  const offset = shape.length - x.shape.length;
  if (offset < 0 || x.shape.some((extent, dim) => extent !== 1 && extent !== shape[dim + offset]))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('expand')}: ${formatShape(x.shape)} cannot be repeated to ${formatShape(shape)}. Only dims of extent 1 can grow.`,
    );
  const view = { shape: [...shape], strides: broadcastStrides(x.shape, shape), offset: 0 };
  const y = readView('expand', x, view);
  if (checksPlacements()) place(y, moved(placed(x), shape, (dim) => dim + offset).layout);
  return record(y, { op: 'expand', inputs: [x], saved: [], backward: (grad) => [sumToShape(grad, x.shape)] });
}

/** Tensors one after another along `dim`. @throws ShapeError SHAPE_MISMATCH */
export function cat<P extends Placement>(parts: readonly Tensor<P>[], dim = 0): Tensor<P> {
  const tensors = [...parts]; // the caller may go on with its array
  const [first] = tensors;
  if (first === undefined) throw new ShapeError('SHAPE_MISMATCH', `${where('cat')}: no tensors. Give at least one.`);
  const at = resolveDim('cat', first.shape, dim);
  for (const tensor of tensors) {
    const rest = tensor.shape.map((extent, i) => (i === at ? extentOf(first.shape, at) : extent));
    if (!sameShape(rest, first.shape) || tensor.dtype !== first.dtype)
      throw new ShapeError(
        'SHAPE_MISMATCH',
        `${where('cat')}: ${tensor.dtype}${formatShape(tensor.shape)} beside ${first.dtype}${formatShape(first.shape)} along dim ${at}. All dims but ${at}, and the dtype, must agree.`,
      );
  }
  const starts: number[] = [];
  const total = tensors.reduce((sum, tensor) => (starts.push(sum), sum + extentOf(tensor.shape, at)), 0);
  const shape = first.shape.map((extent, i) => (i === at ? total : extent));
  const strides = stridesOf(shape);
  const out = empty(shape, first.dtype); // the parts write all of it
  tensors.forEach((tensor, i) => {
    const offset = (starts[i] ?? 0) * (strides[at] ?? 0);
    requireWord('cat', offset);
    engine.stridedSet(out.handle, tensor.handle, layoutWords('cat', [shape.length, ...tensor.shape, ...strides]), offset);
  });
  const whole = new Tensor<P>(engine.alias(out.handle, 0, out.numel), { shape, dtype: first.dtype, placement: first.placement });
  if (checksPlacements()) place(whole, combined('cat', shape, { addends: tensors.map(placed) }).layout);
  const backward = (grad: AnyTensor) =>
    tensors.map((tensor, i) =>
      tensor.requiresGrad ? partOf(grad, at, { start: starts[i] ?? 0, end: (starts[i] ?? 0) + extentOf(tensor.shape, at) }) : null,
    );
  return record(whole, { op: 'cat', inputs: tensors, saved: [], backward });
}

/** A part of a gradient along `dim`, unrecorded: the same memory where the part lies in one piece. */
function partOf(grad: AnyTensor, dim: number, { start, end }: Required<Range>): AnyTensor {
  if (numel(grad.shape.slice(0, dim)) !== 1) return slice(grad, dim, { start, end });
  const shape = grad.shape.map((extent, i) => (i === dim ? end - start : extent));
  return alias(grad, shape, start * (stridesOf(grad.shape)[dim] ?? 0));
}

/** Where a box lies in a tensor: its first element and its size, per dim. */
export interface Box {
  /** First element, per dim. */
  readonly offset: readonly number[];
  /** Size, per dim. */
  readonly extent: readonly number[];
}

/** The elements of a box, copied where it is not the whole; unrecorded inside `noGrad`. @throws ShapeError INDEX_OUT_OF_RANGE */
export function readBox<P extends Placement>(x: Tensor<P>, { offset, extent }: Box): Tensor<P> {
  return x.shape.reduce((part, whole, dim) => {
    const [start = 0, size = 0] = [offset[dim], extent[dim]];
    return size === whole ? part : slice(part, dim, { start, end: start + size });
  }, x);
}

/** Writes `part` into the box of `whole` that begins at `offset`, in place and unrecorded; both have one dtype. */
export function writeBox(whole: AnyTensor, part: AnyTensor, offset: readonly number[]): void {
  const strides = stridesOf(whole.shape);
  const first = offset.reduce((sum, at, dim) => sum + at * (strides[dim] ?? 0), 0);
  requireWord('writeBox', first);
  engine.stridedSet(whole.handle, part.handle, layoutWords('writeBox', [part.shape.length, ...part.shape, ...strides]), first);
}
