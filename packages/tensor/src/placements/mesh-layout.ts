import { ConfigError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import type { Shape } from '../shape.ts';
import type { AnyTensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';

/** How summands become one value; `max` of maxima of parts, `mean` of means of equal parts. */
export type PartialOp = 'sum' | 'mean' | 'max' | 'min';

/** How a value lies over the ranks of one axis of the mesh. */
export type AxisPlacement =
  | { readonly kind: 'replicated' }
  | {
      readonly kind: 'sharded';
      /** The dim of which each rank holds a part. */
      readonly dim: number;
      /** What the dim is called: hidden, sequence, vocab, … */
      readonly name: string;
    }
  | {
      readonly kind: 'partial';
      readonly op: PartialOp;
      /** The operation that left summands. */
      readonly since: string;
    };

/**
 * A value's placement over the axes of the mesh by name, and under `*` that over all others. Of an axis that is not there nothing is known:
 * each rank may have read other samples.
 */
export type MeshLayout = Readonly<Record<string, AxisPlacement>>;

/** A shape and where its values live; without a layout, a constant of this rank about which nothing is known. */
export interface Placed {
  /** Extents of this rank's part. */
  readonly shape: Shape;
  /** Where the value lives. */
  readonly layout: MeshLayout | undefined;
}

/** Zeros: whole, cut, or summands of zero, as it is needed. */
export const zeroLayout: MeshLayout = Object.freeze({});

/** Every rank holds the value. */
export const replicated: AxisPlacement = { kind: 'replicated' };

/** What is the same on all ranks, such as a number in the program. */
export const everywhere: MeshLayout = Object.freeze({ '*': replicated });

/** What is known of a value over an axis. */
export function over(axis: string, { layout }: Placed): AxisPlacement | undefined {
  return layout?.[axis] ?? layout?.['*'];
}

/** What a summand over an axis is, left by operation `op` of now. */
export function summand(op: string, reduction: PartialOp = 'sum'): AxisPlacement {
  return { kind: 'partial', op: reduction, since: where(op) };
}

/** All axes of which something is known. */
export function axesOf(operands: readonly Placed[]): ReadonlySet<string> {
  const axes = new Set<string>();
  for (const { layout } of operands) if (layout !== undefined) for (const axis of Object.keys(layout)) axes.add(axis);
  return axes;
}

/** The layout of a result of these operands, axis by axis; nothing is known of it where nothing is known of any. */
export function overAxes(operands: readonly Placed[], placement: (axis: string) => AxisPlacement | undefined): MeshLayout | undefined {
  if (operands.every(({ layout }) => layout === undefined || layout === zeroLayout)) return undefined;
  const layout: Record<string, AxisPlacement> = {};
  for (const axis of axesOf(operands)) {
    const found = placement(axis);
    if (found !== undefined) layout[axis] = found;
  }
  return layout;
}

/** The placement over one axis as tensors and types call it: `partial sum over tp`. */
export function wordsOf(axis: string, placement: AxisPlacement): string {
  if (placement.kind === 'replicated') return 'replicated';
  return placement.kind === 'sharded' ? `${placement.name} sharded over ${axis}` : `partial ${placement.op} over ${axis}`;
}

/** The placement over all axes in words. */
export function layoutWords(layout: MeshLayout): string {
  const words = Object.entries(layout).flatMap(([axis, placement]) => (placement.kind === 'replicated' ? [] : [wordsOf(axis, placement)]));
  return words.length === 0 ? 'replicated' : words.join(', ');
}

/** What an error says of an operand over `axis`: its shape, its placement and since when it is a summand. */
export function described(axis: string, { shape, layout }: Placed): string {
  const placement = over(axis, { shape, layout }) ?? replicated;
  const since = placement.kind === 'partial' ? `, since ${placement.since},` : '';
  return `[${shape.join(', ')}] (${wordsOf(axis, placement)}${since})`.replace(',)', ')');
}

/** An operation whose operands do not lie as it needs them. */
export function misplaced(op: string, sentence: string): ConfigError {
  return new ConfigError('WRONG_PLACEMENT', `${where(op)}: ${sentence}`);
}

const layouts = new WeakMap<AnyTensor, MeshLayout>();

/** What is known of a tensor; of a parameter it is in its meta. */
export function layoutOf(tensor: AnyTensor): MeshLayout | undefined {
  const known = layouts.get(tensor);
  if (known !== undefined || tensor.asParameter === undefined) return known;
  const layout = parameterLayout(tensor.asParameter);
  layouts.set(tensor, layout);
  return layout;
}

/** A tensor's shape and layout. */
export function placed(tensor: AnyTensor): Placed {
  return { shape: tensor.shape, layout: layoutOf(tensor) };
}

/** Notes where a tensor's value lives, also in its `placement`; nothing is noted of what nothing is known of. */
export function place<T extends AnyTensor>(tensor: T, layout: MeshLayout | undefined): T {
  if (layout === undefined) return tensor;
  layouts.set(tensor, layout);
  Reflect.set(tensor, 'placement', layoutWords(layout));
  return tensor;
}

/** Tells the placement checker that `to` is given the values of `from`; nothing unless placements are checked. */
export function samePlacement<T extends AnyTensor>(to: T, from: AnyTensor): T {
  return checksPlacements() ? place(to, layoutOf(from)) : to;
}

type ParameterTensor = NonNullable<AnyTensor['asParameter']>;

/** A parameter is whole over axes on which its gradient is a summand, and cut where its part is smaller than the tensor. */
function parameterLayout({ meta, placement }: ParameterTensor): MeshLayout {
  const layout: Record<string, AxisPlacement> = { ...everywhere };
  const declared = placementsIn(placement);
  const dim = cutDim(meta);
  for (const axis of meta.shardedOver) {
    const name = declared.find((words) => words.axis === axis)?.name;
    if (name !== undefined) layout[axis] = { kind: 'sharded', dim, name };
  }
  return layout;
}

function cutDim({ logical }: ParameterTensor['meta']): number {
  for (const { globalShape, rectangles } of logical) {
    const held = rectangles[0]?.extent ?? globalShape;
    const dim = globalShape.findIndex((extent, i) => extent !== held[i]);
    if (dim >= 0) return dim;
  }
  return 0;
}

/** One axis in the words of a placement. */
export interface AxisWords {
  /** Axis of the mesh. */
  readonly axis: string;
  /** Name of the dim that is cut; absent for summands. */
  readonly name?: string | undefined;
  /** How summands become one; absent for what is cut. */
  readonly op?: PartialOp | undefined;
}

/** The axes that a placement in words names; none in `replicated`. */
export function placementsIn(words: string): AxisWords[] {
  return words.split(', ').flatMap((part): AxisWords[] => {
    const cut = /^(.+) sharded over (\S+)$/.exec(part);
    if (cut !== null) return [{ name: cut[1], axis: cut[2] as string }];
    const partial = /^partial (sum|mean|max|min) over (\S+)$/.exec(part);
    return partial === null ? [] : [{ op: partial[1] as PartialOp, axis: partial[2] as string }];
  });
}

/** The shape and layout of an operand that may be left out. */
export function placedIf(tensor: AnyTensor | undefined): Placed[] {
  return tensor === undefined ? [] : [placed(tensor)];
}
