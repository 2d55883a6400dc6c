import type { Shape } from '../shape.ts';
import type { AnyTensor } from '../tensor.ts';
import {
  type AxisPlacement,
  axesOf,
  described,
  misplaced,
  over,
  overAxes,
  type Placed,
  placed,
  replicated,
  zeroLayout,
} from './mesh-layout.ts';

/** What is done with operands element by element. */
export interface Combination {
  /** Operands that are added: of each the result is a linear function. */
  readonly addends?: readonly Placed[];
  /** Operands by which the sum is multiplied, or of which the result is no linear function. */
  readonly factors?: readonly Placed[];
}

/**
 * Where `(sum of addends) · factors` lives, element by element with broadcasting. Summands stay summands when they are added to summands
 * and multiplied by what is whole; parts stay parts beside parts of the same dim and beside what does not extend along it.
 * @throws ConfigError WRONG_PLACEMENT for a summand among the factors or beside a whole addend, and for a part beside a whole value
 */
export function combined(op: string, shape: Shape, { addends = [], factors = [] }: Combination): Placed {
  const operands = [...addends, ...factors];
  const layout = overAxes(operands, (axis) => {
    refusePartialFactors(op, axis, factors);
    const partial = partialAddend(op, axis, addends);
    const cut = commonShard(op, { axis, shape, operands });
    if (partial !== undefined && cut !== undefined) throw mixed(op, axis, operands);
    return partial ?? cut ?? wholeOver(axis, operands);
  });
  return { shape, layout };
}

/** Whole where all operands are; of what else is read together with a value that nothing is known of, nothing is known. */
export function wholeOver(axis: string, operands: readonly Placed[]): AxisPlacement | undefined {
  return operands.every((operand) => operand.layout === zeroLayout || over(axis, operand)?.kind === 'replicated') ? replicated : undefined;
}

function refusePartialFactors(op: string, axis: string, factors: readonly Placed[]): void {
  const partial = factors.find((factor) => over(axis, factor)?.kind === 'partial');
  if (partial !== undefined) throw usedAsWhole(op, axis, partial);
}

/** The error of an operation that needs a whole value and got a summand. */
export function usedAsWhole(op: string, axis: string, operand: Placed) {
  return misplaced(
    op,
    `${described(axis, operand)} is used as a whole value, but each rank holds a summand of it. `
      + `Reduce it over ${axis} first, in a tensor-parallel region with reduceFromTensorParallelRegion.`,
  );
}

/** The placement of addends that are summands; none are whole beside them. */
function partialAddend(op: string, axis: string, addends: readonly Placed[]): AxisPlacement | undefined {
  const partial = addends.filter((addend) => over(axis, addend)?.kind === 'partial');
  const [first] = partial;
  if (first === undefined) return undefined;
  const other = addends.find((addend) => addend.layout !== zeroLayout && !partial.includes(addend));
  if (other !== undefined)
    throw misplaced(
      op,
      `${described(axis, other)} is added to ${described(axis, first)}: the sum over ${axis} would count it once for every rank. `
        + `Reduce the summands over ${axis} first and add it after.`,
    );
  return over(axis, first);
}

interface Sharing {
  readonly axis: string;
  readonly shape: Shape;
  readonly operands: readonly Placed[];
}

/** The dim of the result along which all operands that extend along it are cut. */
function commonShard(op: string, { axis, shape, operands }: Sharing): AxisPlacement | undefined {
  const cuts = operands.flatMap((operand) => {
    const placement = over(axis, operand);
    return placement?.kind === 'sharded' ? [{ placement, at: placement.dim + shape.length - operand.shape.length }] : [];
  });
  const [first] = cuts;
  if (first === undefined) return undefined;
  if (cuts.some(({ at }) => at !== first.at)) throw mixed(op, axis, operands);
  for (const operand of operands) {
    const extent = operand.shape[first.at - (shape.length - operand.shape.length)] ?? 1;
    if (over(axis, operand)?.kind === 'replicated' && extent > 1) throw mixed(op, axis, operands);
  }
  return { ...first.placement, dim: first.at };
}

function mixed(op: string, axis: string, operands: readonly Placed[]) {
  const known = operands.filter((operand) => over(axis, operand) !== undefined);
  return misplaced(
    op,
    `${known.map((operand) => described(axis, operand)).join(' beside ')} do not belong to the same ranks' elements. `
      + `Bring them to one placement first: scatter what is whole, gather what is cut, or reduce what is a summand, over ${axis}.`,
  );
}

/** Refuses a tensor that is a summand where its value is read, or a loss that backward begins at. @throws ConfigError WRONG_PLACEMENT */
export function refusePartial(op: string, tensor: AnyTensor): void {
  const operand = placed(tensor);
  for (const axis of axesOf([operand])) refusePartialFactors(op, axis, [operand]);
}

/** Whether an operand is a summand over some axis. */
export function isPartial({ layout }: Placed): boolean {
  return layout !== undefined && Object.values(layout).some(({ kind }) => kind === 'partial');
}
