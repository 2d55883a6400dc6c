import type { Shape } from '../shape.ts';
import { usedAsWhole, wholeOver } from './combine.ts';
import { type AxisPlacement, described, misplaced, over, overAxes, type Placed, summand } from './mesh-layout.ts';

/** An operand of a product, its dims named as in an einsum. */
export interface Labelled {
  /** Shape and layout. */
  readonly operand: Placed;
  /** A name for each dim. */
  readonly labels: readonly string[];
}

/** What a product makes. */
export interface Contracted {
  /** Extents of the result. */
  readonly shape: Shape;
  /** Names of its dims; the product sums over the others. */
  readonly labels: readonly string[];
}

/**
 * Where an einsum of two operands lives. A dim cut in both that the product sums over leaves summands; a dim that stays keeps its cut.
 * @throws ConfigError WRONG_PLACEMENT for two summands, and for a dim that is cut in one operand and whole in the other
 */
export function contracted(op: string, operands: readonly [Labelled, Labelled], { shape, labels }: Contracted): Placed {
  const placements = operands.map(({ operand }) => operand);
  const layout = overAxes(placements, (axis): AxisPlacement | undefined => {
    const partial = placements.find((operand) => over(axis, operand)?.kind === 'partial');
    if (partial !== undefined) {
      const other = placements.find((operand) => operand !== partial);
      if (other !== undefined && (over(axis, other)?.kind ?? 'replicated') !== 'replicated') throw usedAsWhole(op, axis, partial);
      return over(axis, partial);
    }
    const cut = commonCut(op, axis, operands);
    if (cut === undefined) return wholeOver(axis, placements);
    const dim = labels.indexOf(cut.label);
    return dim === -1 ? summand(op) : { kind: 'sharded', dim, name: cut.name };
  });
  return { shape, layout };
}

interface Cut {
  readonly label: string;
  readonly name: string;
}

function cutOf({ operand, labels }: Labelled, axis: string): Cut | undefined {
  const placement = over(axis, operand);
  return placement?.kind === 'sharded' ? { label: labels[placement.dim] ?? '', name: placement.name } : undefined;
}

/** The dim that is cut; what extends along it in the other operand must be cut alike, but of constants nothing is known. */
function commonCut(op: string, axis: string, operands: readonly [Labelled, Labelled]): Cut | undefined {
  const cuts = operands.map((operand) => cutOf(operand, axis));
  const cut = cuts.find((found) => found !== undefined);
  if (cut === undefined) return undefined;
  const isSound = operands.every(({ operand, labels }, i) => {
    if (cuts[i] !== undefined) return cuts[i]?.label === cut.label;
    return over(axis, operand) === undefined || (operand.shape[labels.indexOf(cut.label)] ?? 1) <= 1;
  });
  if (isSound) return cut;
  throw misplaced(
    op,
    `${operands.map(({ operand }) => described(axis, operand)).join(' times ')}: the ranks of ${axis} hold other parts of one than of the `
      + 'other. Gather the input before a weight that is cut by its outputs, and scatter it before one that is cut by its inputs.',
  );
}
