/**
 * A mixed-radix numbering: position = sum of index x stride, where the stride of an axis is the product of the sizes before it, so the
 * first axis varies fastest. A mesh has two such grids over the same positions, one for dense layers and one for experts.
 */
export interface Grid<Axis extends string> {
  /** Axis names, fastest first. */
  readonly axes: readonly Axis[];
  /** Size of each axis. */
  readonly sizes: Readonly<Record<Axis, number>>;
}

/** A grid of the given sizes; the keys' order is the order of the axes. */
export function createGrid<Axis extends string>(sizes: Readonly<Record<Axis, number>>): Grid<Axis> {
  return Object.freeze({ axes: Object.freeze(Object.keys(sizes) as Axis[]), sizes: Object.freeze({ ...sizes }) });
}

/** The index of a position along each axis. */
export function gridCoordinates<Axis extends string>(grid: Grid<Axis>, position: number): Record<Axis, number> {
  let rest = position;
  const entries = grid.axes.map((axis): [Axis, number] => {
    const index = rest % grid.sizes[axis];
    rest = (rest - index) / grid.sizes[axis];
    return [axis, index];
  });
  return Object.fromEntries(entries) as Record<Axis, number>;
}

/** The positions that differ along `along` only, one list per group; groups and members are both ordered with the first axis fastest. */
export function gridGroups<Axis extends string>(grid: Grid<Axis>, along: readonly string[]): number[][] {
  const starts = offsets(grid, (axis) => !along.includes(axis));
  const members = offsets(grid, (axis) => along.includes(axis));
  return starts.map((start) => members.map((member) => start + member));
}

/** Every sum of index x stride over the chosen axes, the first axis fastest. */
function offsets<Axis extends string>(grid: Grid<Axis>, chosen: (axis: Axis) => boolean): number[] {
  let stride = 1;
  let found = [0];
  for (const axis of grid.axes) {
    const step = stride;
    const inner = found;
    if (chosen(axis)) found = Array.from({ length: grid.sizes[axis] }, (_, index) => inner.map((offset) => offset + index * step)).flat();
    stride *= grid.sizes[axis];
  }
  return found;
}
