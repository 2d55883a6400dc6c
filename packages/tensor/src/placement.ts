/** The value is whole and equal on every rank. */
export type Replicated = 'replicated';

/** Cut along one dim: `Sharded<'tp', 'hidden'>` after a column-parallel layer, `Sharded<'tp', 'sequence'>` under sequence parallelism. */
export type Sharded<Axis extends string = string, Dim extends string = string> = `${Dim} sharded over ${Axis}`;

/** Each rank holds a summand; only a reduction makes it whole. */
export type PartialSum<Axis extends string = string> = `partial sum over ${Axis}`;

/** Values to which non-linear mathematics may be applied. */
export type Whole = Replicated | Sharded;

/** Where a tensor's value lives on the mesh; the tensor's `placement` holds the same words. */
export type Placement = Whole | PartialSum;

/** Placement of `x · wᵀ`: a weight cut by output features shards the result, one cut by input features leaves partial sums. */
export function productPlacement(x: Placement, w: Placement): Placement {
  if (w === 'replicated') return x;
  return x === 'replicated' ? w : (`partial sum over ${axisOf(w)}` satisfies PartialSum);
}

/** What `before` becomes when it is `after` over `axis`: under the placement checker it may name several axes. */
export function placementOver(axis: string, before: Placement, after: Placement): Placement {
  if (!before.includes(', ')) return after;
  const others = before.split(', ').filter((words) => !words.endsWith(` over ${axis}`));
  return (after === 'replicated' ? others : [...others, after]).join(', ') as Placement;
}

function axisOf(placement: Placement): string {
  return placement.slice(placement.lastIndexOf(' ') + 1);
}
