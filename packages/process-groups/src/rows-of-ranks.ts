import { ShapeError } from '@megatron-ts/errors';
import { formatShape, type Shape } from '@megatron-ts/tensor';
import type { CollectiveOptions } from './collective-options.ts';
import type { ProcessGroup } from './process-group.ts';

/** Rows that ranks bring or take, where they differ. */
export interface UnevenOptions extends CollectiveOptions {
  /** Rows of dim 0 for each rank of the group, the same list on all of them; the same number for each by default. */
  readonly rows?: readonly number[];
}

/** Where dim 0 is cut. */
export interface RowSplit {
  /** Rows of this rank. */
  readonly own: number;
  /** Rows of all ranks. */
  readonly all: number;
  /** Elements of each rank, as the engine wants them; empty where all have as many. */
  readonly counts: Uint32Array;
}

const even = new Uint32Array();

/**
 * The rows where every rank brings a tensor of its own, here one of `shape`: those given, or as many from each as from this one.
 * @throws ShapeError WRONG_RANK, SHAPE_MISMATCH
 */
export function rowsBrought(op: string, shape: Shape, { group, rows }: UnevenOptions): RowSplit {
  const own = firstExtent(op, group, shape);
  if (rows === undefined) return { own, all: own * group.size, counts: even };
  requireRows(op, group, rows);
  if (rows[group.rank] === own) return { own, all: sum(rows), counts: countsOf(rows, shape) };
  throw new ShapeError(
    'SHAPE_MISMATCH',
    `${op} on group ${group.name}: rows [${rows.join(', ')}] give rank ${group.rank} ${rows[group.rank]}, but its tensor is ${formatShape(shape)}. Make them agree.`,
  );
}

/**
 * The rows where dim 0 of `shape` is split over the ranks: those given, or equal shares.
 * @throws ShapeError WRONG_RANK, SHAPE_MISMATCH
 */
export function rowsTaken(op: string, shape: Shape, { group, rows }: UnevenOptions): RowSplit {
  const all = firstExtent(op, group, shape);
  if (rows === undefined) {
    if (all % group.size === 0) return { own: all / group.size, all, counts: even };
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${op} on group ${group.name}: dim 0 of ${formatShape(shape)} is not divisible by the group size ${group.size}. Pad it to a multiple, or give rows.`,
    );
  }
  requireRows(op, group, rows);
  if (sum(rows) === all) return { own: rows[group.rank] ?? 0, all, counts: countsOf(rows, shape) };
  throw new ShapeError(
    'SHAPE_MISMATCH',
    `${op} on group ${group.name}: rows [${rows.join(', ')}] add up to ${sum(rows)}, but dim 0 of ${formatShape(shape)} is ${all}. Make them agree.`,
  );
}

/** Extent of dim 0. @throws ShapeError WRONG_RANK for a scalar */
export function firstExtent(op: string, group: ProcessGroup, [rows]: Shape): number {
  if (rows !== undefined) return rows;
  throw new ShapeError('WRONG_RANK', `${op} on group ${group.name}: a scalar has no first dim. Reshape it to [1].`);
}

function requireRows(op: string, group: ProcessGroup, rows: readonly number[]): void {
  if (isRowList(rows, group.size)) return;
  throw new ShapeError(
    'SHAPE_MISMATCH',
    `${op} on group ${group.name}: rows [${rows.join(', ')}] is no list of ${group.size} whole numbers. Give one for each rank of the group.`,
  );
}

/** Whether a list has one whole number for each of `size` ranks. */
export function isRowList(rows: readonly number[], size: number): boolean {
  return rows.length === size && rows.every((count) => Number.isSafeInteger(count) && count >= 0);
}

/** All rows together. */
export function sum(rows: readonly number[]): number {
  return rows.reduce((total, count) => total + count, 0);
}

/** Elements of each rank, for rows of a tensor of `shape`. */
export function countsOf(rows: readonly number[], shape: Shape): Uint32Array {
  const width = shape.slice(1).reduce((product, extent) => product * extent, 1);
  return Uint32Array.from(rows, (count) => count * width);
}
