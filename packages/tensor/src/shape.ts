import { InternalError, ShapeError } from '@megatron-ts/errors';
import { where } from './where-in-model.ts';

/** Extents of a tensor, outermost first. */
export type Shape = readonly number[];

/** Number of elements. */
export function numel(shape: Shape): number {
  let count = 1;
  for (const extent of shape) count *= extent;
  return count;
}

/** Holds extents of a new tensor against what a tensor can have. @throws ShapeError INVALID_EXTENT, TOO_LARGE */
export function requireShape(op: string, shape: Shape): void {
  let count = 1;
  for (let dim = 0; dim < shape.length; dim++) {
    const extent = shape[dim] as number;
    if (!(Number.isInteger(extent) && extent >= 0))
      throw new ShapeError(
        'INVALID_EXTENT',
        `${where(op)}: extent ${extent} of dim ${dim} in shape ${formatShape(shape)} is no whole number from 0 on. Give one.`,
      );
    count *= extent;
  }
  if (count <= Number.MAX_SAFE_INTEGER) return;
  throw new ShapeError(
    'TOO_LARGE',
    `${where(op)}: shape ${formatShape(shape)} has about ${count.toPrecision(3)} elements, more than can be counted exactly (2^53 - 1). Use smaller extents.`,
  );
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let dim = shape.length - 1; dim >= 0; dim--) {
    strides[dim] = stride;
    stride *= extentOf(shape, dim);
  }
  return strides;
}

/** Whether two shapes are equal. */
export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let dim = 0; dim < a.length; dim++) if (a[dim] !== b[dim]) return false;
  return true;
}

/** `[32, 8, 256]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/** Extent of `dim`; the caller has checked that it exists. */
export function extentOf(shape: Shape, dim: number): number {
  const extent = shape[dim];
  if (extent === undefined) throw new InternalError('INVARIANT', `shape ${formatShape(shape)} has no dim ${dim}; this is a bug.`);
  return extent;
}

/** Dim counted from the front; negative dims count from the end. @throws ShapeError DIM_OUT_OF_RANGE */
export function resolveDim(op: string, shape: Shape, dim: number): number {
  const resolved = dim < 0 ? dim + shape.length : dim;
  if (Number.isInteger(dim) && resolved >= 0 && resolved < shape.length) return resolved;
  const range = shape.length === 0 ? 'A scalar has no dims' : `Use ${-shape.length} to ${shape.length - 1}`;
  throw new ShapeError('DIM_OUT_OF_RANGE', `${where(op)}: dim ${dim} does not exist in shape ${formatShape(shape)}. ${range}.`);
}

/** The shape that two operands broadcast to. @throws ShapeError NOT_BROADCASTABLE */
export function broadcastShape(op: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const result = new Array<number>(rank);
  for (let back = 1; back <= rank; back++) {
    const x = a[a.length - back] ?? 1;
    const y = b[b.length - back] ?? 1;
    if (x !== y && x !== 1 && y !== 1)
      throw new ShapeError(
        'NOT_BROADCASTABLE',
        `${where(op)}: shapes ${formatShape(a)} and ${formatShape(b)} differ in dim ${rank - back} (${x} and ${y}). Make them equal, or one of them 1.`,
      );
    result[rank - back] = x === 1 ? y : x;
  }
  return result;
}

/** Strides with which a tensor of `shape` is read as `target`; 0 where it is repeated. */
export function broadcastStrides(shape: Shape, target: Shape): number[] {
  const own = stridesOf(shape);
  const offset = target.length - shape.length;
  return target.map((_, dim) => (dim < offset || shape[dim - offset] === 1 ? 0 : (own[dim - offset] ?? 0)));
}
