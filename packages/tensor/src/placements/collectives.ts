import { checksPlacements } from '../check-mode.ts';
import type { AnyTensor } from '../tensor.ts';
import { type AxisPlacement, described, misplaced, over, place, placed, replicated, zeroLayout } from './mesh-layout.ts';

/** A collective as the placement checker sees it. */
export interface PlacedCollective {
  /** Name in errors. */
  readonly op: 'allReduce' | 'allGather' | 'reduceScatter' | 'broadcast';
  /** Axis of the mesh whose ranks take part: the name of the group. */
  readonly axis: string;
  /** How summands become one; sum by default. */
  readonly reduction?: 'sum' | 'avg' | 'max' | 'min' | 'product' | undefined;
}

/**
 * Notes what a collective makes of `input`, and refuses one that would count a whole value once for every rank, mix parts, or gather
 * summands. Does nothing unless placements are checked, and for values of which nothing is known.
 * @throws ConfigError WRONG_PLACEMENT
 */
export function placeCollective(output: AnyTensor, input: AnyTensor, { op, axis, reduction = 'sum' }: PlacedCollective): void {
  if (!checksPlacements()) return;
  const given = placed(input);
  if (given.layout === undefined || given.layout === zeroLayout) return;
  const known = over(axis, given);
  const refuse = (reason: string) => misplaced(op, `${described(axis, given)} ${reason}.`);
  const next = {
    allReduce: () => reduce(known, { reduction, refuse }),
    reduceScatter: (): AxisPlacement => {
      void reduce(known, { reduction, refuse, name: 'reduceScatter' });
      return { kind: 'sharded', dim: 0, name: 'sequence' };
    },
    allGather: (): AxisPlacement => {
      if (known === undefined || known.kind === 'sharded') return replicated;
      throw refuse(
        known.kind === 'partial'
          ? `is gathered over ${axis}, but its summands belong in one sum: reduce it instead`
          : `is gathered over ${axis}, but every rank holds it whole already: use it as it is`,
      );
    },
  };
  place(output, { ...given.layout, [axis]: op === 'broadcast' ? replicated : next[op]() });
}

interface Reducing {
  readonly reduction: NonNullable<PlacedCollective['reduction']>;
  readonly refuse: (reason: string) => Error;
  readonly name?: string;
}

function reduce(own: AxisPlacement | undefined, { reduction, refuse, name = 'allReduce' }: Reducing): AxisPlacement {
  if (own === undefined) return replicated;
  if (own.kind === 'partial') {
    const needed = own.op === 'mean' ? 'avg' : own.op;
    if (needed === reduction) return replicated;
    throw refuse(`needs the reduction ${needed}, not ${reduction}`);
  }
  if (own.kind === 'sharded') throw refuse(`would be mixed by ${name}: its ranks hold other parts. Gather it instead`);
  if (reduction === 'sum' || reduction === 'product' || name === 'reduceScatter')
    throw refuse(`is whole on every rank already, and the ${reduction} over ranks would count it again. Leave the second reduction out`);
  return replicated;
}
