import type { Shape } from '../shape.ts';
import { usedAsWhole } from './combine.ts';
import { type AxisPlacement, over, overAxes, type PartialOp, type Placed, summand } from './mesh-layout.ts';

/** The layout with every cut dim renumbered; where `moveDim` gives nothing the axis is forgotten. */
export function moved({ shape, layout }: Placed, target: Shape, moveDim: (dim: number) => number | undefined): Placed {
  const next = overAxes([{ shape, layout }], (axis) => {
    const placement = over(axis, { shape, layout });
    if (placement?.kind !== 'sharded') return placement;
    const dim = moveDim(placement.dim);
    return dim === undefined ? undefined : { ...placement, dim };
  });
  return { shape: target, layout: next };
}

/** The same elements in another shape: a cut dim becomes the first of those it is split into, or the one it is merged into. */
export function reshaped(from: Placed, target: Shape): Placed {
  return moved(from, target, (dim) => firstOfGroup(from.shape, target, dim));
}

/** The first dim of `target` among those that hold the elements of `dim`: both shapes are walked in groups of equal size. */
function firstOfGroup(shape: Shape, target: Shape, dim: number): number | undefined {
  let [i, j] = [0, 0];
  while (i < shape.length && j < target.length) {
    const first = j;
    let [left, right] = [shape[i++] ?? 1, target[j++] ?? 1];
    while (left !== right) {
      if (left < right && i < shape.length) left *= shape[i++] ?? 1;
      else if (left > right && j < target.length) right *= target[j++] ?? 1;
      else return undefined; // an extent of 0 holds no elements to follow
    }
    if (dim < i) return first;
  }
  return target.length === 0 ? undefined : target.length - 1; // extents of 1 behind all others
}

/** A reduction over dims. */
export interface Reduction {
  /** How elements become one. */
  readonly op: PartialOp;
  /** 1 for each dim that is reduced. */
  readonly mask: readonly number[];
  /** Whether reduced dims stay, with extent 1; false by default. */
  readonly keepDims?: boolean;
}

/**
 * Where a reduction lives: over a dim that is cut, each rank holds a summand, or the largest or the mean of its part.
 * @throws ConfigError WRONG_PLACEMENT for the largest or smallest of summands
 */
export function reduced(op: string, from: Placed, { op: reduction, mask, keepDims = false }: Reduction): Placed {
  const dropped = (dim: number) => mask.slice(0, dim).filter((bit) => bit === 1).length;
  const layout = overAxes([from], (axis): AxisPlacement | undefined => {
    const placement = over(axis, from);
    if (placement?.kind === 'partial') {
      const isLinear = [reduction, placement.op].every((kind) => kind === 'sum' || kind === 'mean');
      if (!isLinear && reduction !== placement.op) throw usedAsWhole(op, axis, from);
      return placement;
    }
    if (placement?.kind !== 'sharded') return placement;
    if (mask[placement.dim] === 1) return summand(op, reduction);
    return { ...placement, dim: keepDims ? placement.dim : placement.dim - dropped(placement.dim) };
  });
  const kept = from.shape.map((extent, dim) => (mask[dim] === 1 ? 1 : extent));
  return { shape: keepDims ? kept : kept.filter((_, dim) => mask[dim] !== 1), layout };
}

/** What an operation that adds up all dims but the last leaves, such as the gradient of a bias. */
export function overRows(op: string, from: Placed): Placed {
  const last = from.shape.length - 1;
  return reduced(op, from, { op: 'sum', mask: from.shape.map((_, dim) => (dim === last ? 0 : 1)) });
}

/** A part along a dim, and what it is a part of. */
export interface PartOf {
  /** The dim. */
  readonly at: number;
  /** The whole of it on this rank. */
  readonly of: Placed;
}

/** Where a part among zeros lives: each rank's own part of what is whole is a summand. */
export function amongZeros(op: string, part: Placed, { at, of }: PartOf): Placed['layout'] {
  return overAxes([part], (axis) => {
    const placement = over(axis, part);
    return placement?.kind === 'sharded' && placement.dim === at && over(axis, of)?.kind === 'replicated' ? summand(op) : placement;
  });
}
