import { CheckpointError } from '@megatron-ts/errors';
import { type DType, numel, type Parameter, type ParamMeta, type Rectangle, sameShape } from '@megatron-ts/tensor';

/** A tensor of the model as it is without sharding. */
export interface WholeForm {
  /** Name of the parameter, and of the tensor inside it where it holds several: `layers.0.attention.qkv.weight.q`. */
  readonly name: string;
  /** Shape of the whole. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
}

/** What a rank holds of one parameter; plain data that travels to the root. */
export interface HeldParameter {
  /** Its name. */
  readonly name: string;
  /** Element type. */
  readonly dtype: DType;
  /** Where its parts lie in the whole tensors. */
  readonly logical: ParamMeta['logical'];
}

/** A part of a whole tensor and who brings it. */
export interface WholePiece {
  /** Rank in the group. */
  readonly rank: number;
  /** The parameter it is cut from. */
  readonly parameter: string;
  /** Which part. */
  readonly rectangle: Rectangle;
}

/** How one whole tensor comes together. */
export interface PlannedWhole {
  /** What it will be. */
  readonly form: WholeForm;
  /** Its parts, each once. */
  readonly pieces: readonly WholePiece[];
}

/** What this rank can bring: parameters of its own, and of shared ones the copy that counts. */
export function heldParameters(parameters: ReadonlyMap<string, Parameter>): HeldParameter[] {
  const own = [...parameters].filter(([, { tiedTo, meta }]) => tiedTo === undefined && meta.isPrimary);
  return own.map(([name, { dtype, meta }]) => ({ name, dtype, logical: meta.logical }));
}

/**
 * Which rank brings which part of each whole tensor, in the order in which the ranks hold them; of replicas the lowest rank brings it.
 * @throws CheckpointError INCOMPLETE, LAYOUT_MISMATCH
 */
export function planWhole(held: readonly (readonly HeldParameter[])[]): PlannedWhole[] {
  const found = new Map<string, { readonly form: WholeForm; readonly pieces: Map<string, WholePiece> }>();
  for (const [rank, parameters] of held.entries())
    for (const { name: parameter, dtype, logical } of parameters)
      for (const { suffix, globalShape: shape, rectangles } of logical) {
        const name = suffix === '' ? parameter : `${parameter}.${suffix}`;
        const { form, pieces } = found.get(name) ?? { form: { name, shape, dtype }, pieces: new Map<string, WholePiece>() };
        requireSameForm(form, { name, shape, dtype }, rank);
        found.set(name, { form, pieces });
        for (const rectangle of rectangles) {
          const place = `${rectangle.globalOffset.join()}+${rectangle.extent.join()}`;
          if (numel(rectangle.extent) > 0 && !pieces.has(place)) pieces.set(place, { rank, parameter, rectangle });
        }
      }
  return [...found.values()].map(({ form, pieces }) => ({ form, pieces: requireCovered(form, [...pieces.values()]) }));
}

function requireSameForm(first: WholeForm, { name, shape, dtype }: WholeForm, rank: number): void {
  if (sameShape(first.shape, shape) && first.dtype === dtype) return;
  throw new CheckpointError(
    'LAYOUT_MISMATCH',
    `gatherWhole: "${name}" is ${dtype} [${shape.join(', ')}] on rank ${rank} but ${first.dtype} [${first.shape.join(', ')}] before it. `
      + 'Build the model with the same options on every rank.',
  );
}

function requireCovered(form: WholeForm, pieces: readonly WholePiece[]): readonly WholePiece[] {
  const covered = pieces.reduce((sum, { rectangle }) => sum + numel(rectangle.extent), 0);
  if (covered === numel(form.shape)) return pieces;
  throw new CheckpointError(
    'INCOMPLETE',
    `gatherWhole: the ranks hold ${covered} of the ${numel(form.shape)} elements of "${form.name}", each part counted once. `
      + 'Call it on every rank of the context, with all parameters of each.',
    { fields: { name: form.name, covered } },
  );
}
