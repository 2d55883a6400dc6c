import {
  alias,
  type AnyTensor,
  bytesPerElement,
  copyInto,
  type DType,
  inCategory,
  keep,
  type MemoryCategory,
  type Parameter,
  scope,
  zeros,
} from '@megatron-ts/tensor';

/** Bytes of a cache line: parameters begin at multiples of it, as they would in memory of their own. */
const line = 64;

/** A parameter and its places in the flat buffers. */
export interface FlatPlace {
  /** The parameter. */
  readonly parameter: Parameter;
  /** Its values in f32: those that an update reads and writes. */
  readonly values: AnyTensor;
  /** The same rounded to the parameter's dtype: what the model computes with. None for f32, where the model reads `values`. */
  readonly model: AnyTensor | undefined;
  /** Its gradient there; none where somebody else lays gradients out. */
  readonly grad: AnyTensor | undefined;
  /** Running mean of its gradients. */
  readonly mean: AnyTensor;
  /** Running mean of their squares. */
  readonly square: AnyTensor;
}

/** Handles of one run of elements. */
export interface Run {
  /** Values in f32, gradient and both moments. */
  readonly handles: readonly [number, number, number, number];
  /** Where the new values go rounded; 0 for nowhere. */
  readonly model: number;
}

/** The buffers behind the places of a group. */
type FlatBuffers = Omit<FlatPlace, 'parameter' | 'grad'> & { readonly grad: AnyTensor };

/**
 * Parameters of one dtype that are updated alike, with their values, gradients and moments each in one flat buffer. Gradients of a
 * synchronizer stay in its buckets. Parameters are moved here when the group is made. For bf16 parameters the group keeps main weights in
 * f32, which begin as the bf16 values widened.
 * @source Megatron-core, `Float16OptimizerWithFloat16Params`
 */
export class FlatGroup {
  /** Parameters in order. */
  readonly places: readonly FlatPlace[];
  private readonly whole: FlatBuffers;

  constructor(parameters: readonly Parameter[]) {
    const { dtype } = parameters[0] ?? { dtype: 'f32' };
    const step = line / bytesPerElement(dtype);
    const offsets: number[] = [];
    const numel = parameters.reduce((end, parameter) => (offsets.push(end), end + Math.ceil(parameter.numel / step) * step), 0);
    const isOurs = parameters.every(({ synchronizer }) => synchronizer === undefined);
    const flat = {
      values: keptZeros([numel], dtype === 'f32' ? 'parameters' : 'optimizer'),
      model: dtype === 'f32' ? undefined : keptZeros([numel], 'parameters', dtype),
      grad: keptZeros([isOurs ? numel : 0], 'gradients'),
      mean: keptZeros([numel], 'optimizer'),
      square: keptZeros([numel], 'optimizer'),
    };
    this.whole = flat;
    this.places = parameters.map((parameter, i) => {
      const view = (buffer: AnyTensor) => keptView(buffer, parameter.shape, offsets[i] ?? 0);
      const model = flat.model === undefined ? undefined : view(flat.model);
      const grad = isOurs ? view(flat.grad) : undefined;
      const place = { parameter, values: view(flat.values), model, grad, mean: view(flat.mean), square: view(flat.square) };
      moveIn(place);
      return place;
    });
  }

  /** What an update visits: one run where everything lies here and has a gradient, else one for each parameter that has. */
  runs(): readonly Run[] {
    if (this.places.length > 0 && this.places.every(isWhole)) return [runOf(this.whole, this.whole.grad)];
    return this.places.flatMap((place): Run[] => {
      const { grad, handle } = place.parameter;
      if (grad === undefined) return [];
      const { handles, model } = runOf(place, grad);
      const [, ...others] = handles;
      return [place.model === undefined ? { handles: [handle, ...others], model } : { handles, model: handle }];
    });
  }

  /** Releases the buffers; parameters keep the part that they lie in. */
  dispose(): void {
    for (const { values, model, grad, mean, square } of [...this.places, this.whole])
      for (const tensor of [values, model, grad, mean, square]) tensor?.dispose();
  }
}

function runOf({ values, model, mean, square }: Omit<FlatBuffers, 'grad'>, grad: AnyTensor): Run {
  return { handles: [values.handle, grad.handle, mean.handle, square.handle], model: model?.handle ?? 0 };
}

/** Whether a parameter still lies here: another optimizer may have moved it. */
function isWhole({ parameter, values, model = values, grad }: FlatPlace): boolean {
  return grad !== undefined && parameter.grad?.handle === grad.handle && parameter.handle === model.handle;
}

function moveIn({ parameter, values, model, grad }: FlatPlace): void {
  if (model !== undefined) copyInto(values, parameter);
  parameter.rebase((model ?? values) as Parameter);
  if (grad === undefined) return;
  const { grad: before } = parameter;
  if (before !== undefined) copyInto(grad, before);
  parameter.useGradBuffer(grad);
  if (before !== undefined) void parameter.gradTarget(); // it has a gradient already
}

/** Zeros that belong to the caller alone, whichever scope is open. */
export function keptZeros(shape: readonly number[], category: MemoryCategory, dtype: DType = 'f32'): AnyTensor {
  return kept(() => inCategory(category, () => zeros(shape, dtype)));
}

/** A part of a buffer, kept likewise. */
export function keptView(buffer: AnyTensor, shape: readonly number[], offset: number): AnyTensor {
  return kept(() => alias(buffer, shape, offset));
}

function kept(make: () => AnyTensor): AnyTensor {
  const made: AnyTensor[] = [];
  scope(() => {
    made.push(keep(make()));
  });
  return made[0] as AnyTensor;
}
