import type { AnyTensor } from '../tensor.ts';
import {
  type AxisPlacement,
  axesOf,
  described,
  type MeshLayout,
  misplaced,
  over,
  overAxes,
  place,
  type Placed,
  placed,
  replicated,
  wordsOf,
  zeroLayout,
} from './mesh-layout.ts';

/**
 * Holds a gradient against the tensor it belongs to, and notes where it lives. What is cut has a gradient that is cut alike; the gradient
 * of a summand is whole, as that of every addend of a sum; the gradient of what is whole may be a summand until it is reduced.
 * @param isLeaf - whether nothing made the tensor; its gradient stays as it arrives
 * @throws ConfigError WRONG_PLACEMENT
 */
export function placeGradient(tensor: AnyTensor, grad: AnyTensor, isLeaf: boolean): void {
  const of = placed(tensor);
  const given = placed(grad);
  if (of.layout === undefined) {
    if (isLeaf) refuseSummands(tensor, given);
    return;
  }
  const isConstant = given.layout === undefined || given.layout === zeroLayout;
  const layout = overAxes([of, given], (axis): AxisPlacement | undefined => {
    const own = over(axis, of);
    const arrived = isConstant ? undefined : over(axis, given);
    if (own === undefined) return arrived;
    if (arrived === undefined || arrived.kind === 'replicated') return own.kind === 'sharded' ? own : replicated;
    if (arrived.kind === 'partial') {
      if (own.kind === 'replicated') return arrived;
      throw unsummed(axis, own, given);
    }
    if (own.kind === 'sharded' && own.dim === arrived.dim) return arrived;
    throw misplaced(
      'gradient',
      `${described(axis, given)} arrives for a value that is ${wordsOf(axis, own)}${own.kind === 'sharded' ? ` along dim ${own.dim}` : ''}. `
        + `Gather it in backward: a value that is scattered over ${axis} has a gradient that is gathered.`,
    );
  });
  place(grad, layout);
  if (isLeaf) refuseSummands(tensor, placed(grad));
}

function unsummed(axis: string, own: AxisPlacement, given: Placed) {
  const remedy =
    own.kind === 'sharded'
      ? `the summands of the other ranks belong to it. Where it was gathered, backward must reduce-scatter over ${axis}, not slice`
      : `it would be summed again. A value that every rank of ${axis} reads needs copyToTensorParallelRegion before it is used by parts`;
  return misplaced('gradient', `${described(axis, given)} arrives for a value that is ${wordsOf(axis, own)}: ${remedy}.`);
}

/** A leaf keeps its gradient as it arrives, and nobody sums it. */
function refuseSummands(tensor: AnyTensor, grad: Placed): void {
  for (const axis of axesOf([grad]))
    if (over(axis, grad)?.kind === 'partial' && tensor.asParameter === undefined)
      throw misplaced(
        'gradient',
        `${described(axis, grad)} arrives for a leaf [${tensor.shape.join(', ')}], and nobody sums it over ${axis}. `
          + 'Enter the parallel region with copyToTensorParallelRegion, whose backward does.',
      );
}

/** Axes over which data parallelism sums every gradient. */
const dataAxes: ReadonlySet<string> = new Set(['dp']);

/**
 * Holds a contribution to a parameter's gradient against its meta: it is a summand over an axis exactly when somebody will sum it there.
 * @throws ConfigError WRONG_PLACEMENT
 */
export function checkContribution(parameter: NonNullable<AnyTensor['asParameter']>, grad: MeshLayout | undefined): void {
  if (grad === undefined || grad === zeroLayout) return;
  const { meta, shape } = parameter;
  const of = placed(parameter);
  for (const axis of new Set([...Object.keys(grad), ...meta.gradPartialOver])) {
    const arrived = over(axis, { shape, layout: grad });
    if (arrived === undefined) continue;
    const own = over(axis, of) ?? replicated;
    const isSummed = meta.gradPartialOver.includes(axis);
    const given = described(axis, { shape, layout: grad });
    if (arrived.kind === 'partial' && !isSummed && !dataAxes.has(axis))
      throw refused(
        parameter,
        `${given}, and nobody sums it over ${axis}. Between it and the loss a whole value is used by parts: enter the `
          + `parallel region with copyToTensorParallelRegion, or name ${axis} in gradPartialOver of its ParamMeta (sequenceParallel: true does).`,
      );
    if (arrived.kind === 'replicated' && isSummed && own.kind === 'replicated' && hasSeveralRanks(parameter, axis))
      throw refused(
        parameter,
        `${given} already, but gradPartialOver of its ParamMeta names ${axis}, and the sum would count it once for every rank. Leave ${axis} out.`,
      );
    if (arrived.kind === 'sharded' && (own.kind !== 'sharded' || own.dim !== arrived.dim))
      throw refused(
        parameter,
        `${given} along dim ${arrived.dim}, but the parameter is ${wordsOf(axis, own)}: its copies would drift apart. `
          + `Declare its placement and ParamMeta as those of a part, or gather over ${axis} what it is used with.`,
      );
  }
}

/** In a group of one a sum changes nothing. */
function hasSeveralRanks({ context }: NonNullable<AnyTensor['asParameter']>, axis: string): boolean {
  return context !== undefined && context.coordinates(axis).size > 1;
}

function refused({ name }: NonNullable<AnyTensor['asParameter']>, sentence: string) {
  const who = name === '' ? 'a parameter' : `parameter "${name}"`;
  return misplaced('gradient', `the gradient of ${who} is ${sentence}`);
}
