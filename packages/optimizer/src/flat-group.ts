import { alias, type AnyTensor, copyInto, inCategory, keep, type Parameter, scope, zeros } from '@megatron-ts/tensor';

/** Elements in a cache line: parameters begin at multiples of it, as they would in memory of their own. */
const line = 16;

/** A parameter and its places in the flat buffers. */
export interface FlatPlace {
  /** The parameter. */
  readonly parameter: Parameter;
  /** Its values there. */
  readonly values: AnyTensor;
  /** Its gradient there; none where somebody else lays gradients out. */
  readonly grad: AnyTensor | undefined;
  /** Running mean of its gradients. */
  readonly mean: AnyTensor;
  /** Running mean of their squares. */
  readonly square: AnyTensor;
}

/** Handles of values, gradient and both moments of one run of elements. */
export type Run = readonly [number, number, number, number];

/**
 * Parameters that are updated alike, with their values, gradients and moments each in one flat buffer. Gradients of a synchronizer stay
 * in its buckets. Parameters are moved here when the group is made.
 */
export class FlatGroup {
  /** Parameters in order. */
  readonly places: readonly FlatPlace[];
  private readonly whole: { readonly values: AnyTensor; readonly grad: AnyTensor; readonly mean: AnyTensor; readonly square: AnyTensor };

  constructor(parameters: readonly Parameter[]) {
    const offsets: number[] = [];
    const numel = parameters.reduce((end, parameter) => (offsets.push(end), end + Math.ceil(parameter.numel / line) * line), 0);
    const isOurs = parameters.every(({ synchronizer }) => synchronizer === undefined);
    const flat = {
      values: keptZeros([numel], 'parameters'),
      grad: keptZeros([isOurs ? numel : 0], 'gradients'),
      mean: keptZeros([numel], 'optimizer'),
      square: keptZeros([numel], 'optimizer'),
    };
    this.whole = flat;
    this.places = parameters.map((parameter, i) => {
      const view = (buffer: AnyTensor) => keptView(buffer, parameter.shape, offsets[i] ?? 0);
      const grad = isOurs ? view(flat.grad) : undefined;
      const place = { parameter, values: view(flat.values), grad, mean: view(flat.mean), square: view(flat.square) };
      moveIn(place);
      return place;
    });
  }

  /** What an update visits: one run where everything lies here and has a gradient, else one for each parameter that has. */
  runs(): readonly Run[] {
    const { values, grad, mean, square } = this.whole;
    if (this.places.length > 0 && this.places.every(isWhole)) return [[values.handle, grad.handle, mean.handle, square.handle]];
    return this.places.flatMap((place): Run[] => {
      const { grad: own } = place.parameter;
      return own === undefined ? [] : [[place.parameter.handle, own.handle, place.mean.handle, place.square.handle]];
    });
  }

  /** Releases the buffers; parameters keep the part that they lie in. */
  dispose(): void {
    for (const { values, grad, mean, square } of [...this.places, this.whole])
      for (const tensor of [values, grad, mean, square]) tensor?.dispose();
  }
}

/** Whether a parameter still lies here: another optimizer may have moved it. */
function isWhole({ parameter, values, grad }: FlatPlace): boolean {
  return grad !== undefined && parameter.grad?.handle === grad.handle && parameter.handle === values.handle;
}

function moveIn({ parameter, values, grad }: FlatPlace): void {
  parameter.rebase(values as Parameter);
  if (grad === undefined) return;
  const { grad: before } = parameter;
  if (before !== undefined) copyInto(grad, before);
  parameter.useGradBuffer(grad);
  if (before !== undefined) void parameter.gradTarget(); // it has a gradient already
}

/** Zeros that belong to the caller alone, whichever scope is open. */
export function keptZeros(shape: readonly number[], category: 'parameters' | 'gradients' | 'optimizer'): AnyTensor {
  return kept(() => inCategory(category, () => zeros(shape)));
}

function keptView(buffer: AnyTensor, shape: readonly number[], offset: number): AnyTensor {
  return kept(() => alias(buffer, shape, offset));
}

function kept(make: () => AnyTensor): AnyTensor {
  const made: AnyTensor[] = [];
  scope(() => {
    made.push(keep(make()));
  });
  return made[0] as AnyTensor;
}
