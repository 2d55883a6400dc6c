import { checksPlacements } from '../check-mode.ts';
import type { Shape } from '../shape.ts';
import type { AnyTensor } from '../tensor.ts';
import {
  type AxisPlacement,
  type AxisWords,
  axesOf,
  described,
  layoutOf,
  misplaced,
  over,
  place,
  type Placed,
  placed,
  placementsIn,
  replicated,
  summand,
  wordsOf,
} from './mesh-layout.ts';

/** What an own operation says of its output. */
export interface Declaration {
  /** Name of the operation. */
  readonly op: string;
  /** Its tensor arguments. */
  readonly inputs: readonly AnyTensor[];
  /** What its `placement` gave; undefined where it has none. */
  readonly words: string | undefined;
}

/**
 * Notes where the output of an own operation lives: what its forward made, named and completed by what it declares.
 * @param made - what forward returned, before it became a view of its own
 * @throws ConfigError WRONG_PLACEMENT for an operation that declares nothing of inputs that are cut or summands, and for one that declares
 * something else than its forward made
 */
export function placeDeclared(output: AnyTensor, made: AnyTensor, { op, inputs, words }: Declaration): void {
  const operands = inputs.map(placed);
  if (words === undefined) {
    refuseUnknown(op, operands);
    place(output, layoutOf(made));
    return;
  }
  const declared = placementsIn(words);
  if (operands.every(({ layout }) => layout === undefined) && layoutOf(made) === undefined && declared.length === 0) return;
  const layout: Record<string, AxisPlacement> = {};
  for (const axis of new Set([...axesOf([...operands, placed(made)]), ...declared.map((part) => part.axis)])) {
    const part = declared.find((words) => words.axis === axis);
    const found =
      part === undefined ? undeclared(op, axis, placed(made)) : agreed({ op, axis, part }, placed(made), inputs[0]?.shape ?? made.shape);
    if (found !== undefined) layout[axis] = found;
  }
  place(output, layout);
}

function refuseUnknown(op: string, operands: readonly Placed[]): void {
  for (const axis of axesOf(operands)) {
    const operand = operands.find((given) => (over(axis, given)?.kind ?? 'replicated') !== 'replicated');
    if (operand === undefined) continue;
    throw misplaced(
      op,
      `the placement of its output is unknown: it got ${described(axis, operand)} and does not say what it makes of that. `
        + 'Give defineOp a placement, such as placement: (x) => x for an operation that works element by element.',
    );
  }
}

/** Over an axis that the words do not name the output is whole. */
function undeclared(op: string, axis: string, made: Placed): AxisPlacement | undefined {
  const found = over(axis, made);
  if (found === undefined || found.kind === 'replicated') return found;
  throw misplaced(op, `its placement says replicated, but forward made ${described(axis, made)}. Correct the one or the other.`);
}

interface Agreed {
  readonly op: string;
  readonly axis: string;
  readonly part: AxisWords;
}

function agreed({ op, axis, part }: Agreed, made: Placed, inputShape: Shape): AxisPlacement {
  const inner = over(axis, made) ?? replicated;
  const { name, op: reduction = 'sum' } = part;
  const isSame = name === undefined ? inner.kind === 'partial' : inner.kind === 'sharded';
  if (inner.kind === 'replicated')
    return name === undefined ? summand(op, reduction) : { kind: 'sharded', dim: cutDim(name, made.shape, inputShape), name };
  if (!isSame) {
    const words = wordsOf(axis, name === undefined ? summand(op, reduction) : { kind: 'sharded', dim: 0, name });
    throw misplaced(op, `its placement says ${words}, but forward made ${described(axis, made)}. Correct the one or the other.`);
  }
  return inner.kind === 'sharded' && name !== undefined ? { ...inner, name } : inner;
}

/** The dim that became smaller; else that of the name in `[s, b, h]`, the last for all names but sequence and batch. */
function cutDim(name: string, shape: Shape, before: Shape): number {
  const smaller = before.length === shape.length ? shape.findIndex((extent, dim) => extent !== before[dim]) : -1;
  if (smaller !== -1) return smaller;
  if (name === 'sequence' || (name === 'batch' && shape.length === 1)) return 0;
  return name === 'batch' ? 1 : shape.length - 1;
}

/**
 * Tells the placement checker where a value lives that was made elsewhere, such as the input of a pipeline's stage, in the words of its
 * `placement`: in `[s, b, h]` the dim of `sequence sharded over tp` is the first, that of `batch sharded over dp` the second, that of others the
 * last. Does nothing unless placements are checked.
 */
export function declarePlacement<T extends AnyTensor>(tensor: T, words: string): T {
  if (!checksPlacements()) return tensor;
  const layout: Record<string, AxisPlacement> = {};
  for (const { axis, name, op = 'sum' } of placementsIn(words))
    layout[axis] = name === undefined ? summand('declarePlacement', op) : { kind: 'sharded', dim: cutDim(name, tensor.shape, []), name };
  return place(tensor, layout);
}
