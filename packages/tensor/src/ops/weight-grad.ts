import type { AnyTensor } from '../tensor.ts';
import { checksPlacements } from '../check-mode.ts';
import { checkContribution, place, type Placed } from '../placements/index.ts';
import { to } from './cast.ts';
import { empty } from './in-place.ts';

/** Writes a gradient into engine memory, or adds it to what is there. */
export type GradWriter = (handle: number, accumulate: boolean) => void;

/** Gradient of a weight that is not a parameter: a tensor, summed in f32 and delivered in the weight's dtype as any other gradient. */
export function plainGrad(weight: AnyTensor | undefined, write: GradWriter, placement: GradPlacement): AnyTensor | null {
  if (weight?.requiresGrad !== true || weight.asParameter !== undefined) return null;
  const grad = empty(weight.shape);
  write(grad.handle, false);
  if (checksPlacements()) place(grad, placement().layout);
  return to(grad, weight.dtype);
}

/** Where a weight's gradient lives on the mesh; asked only where placements are checked. */
export type GradPlacement = () => Placed;

/** Gradient of a parameter, straight into its f32 `gradTarget()`: no copy, and it may run later than the input gradient. */
export function parameterGrad(weight: AnyTensor | undefined, write: GradWriter, placement: GradPlacement): void {
  const parameter = weight?.asParameter;
  if (parameter?.requiresGrad !== true) return;
  if (checksPlacements()) checkContribution(parameter, placement().layout);
  const { tensor, accumulate } = parameter.gradTarget();
  write(tensor.handle, accumulate);
}

/** What an operation needs to give its weights their gradients, whichever kind they are. */
export interface WeightGradient {
  /** The weight, if the operation was given one. */
  readonly weight: AnyTensor | undefined;
  /** Computes its gradient from the gradient of the output. */
  readonly write: (grad: AnyTensor) => GradWriter;
  /** Where that lives. */
  readonly placement: (grad: AnyTensor) => Placed;
}

/** Gradients of plain weights, in order; null for parameters. */
export function plainGrads(weights: readonly WeightGradient[], grad: AnyTensor): (AnyTensor | null)[] {
  return weights.map(({ weight, write, placement }) => plainGrad(weight, write(grad), () => placement(grad)));
}

/** Gradients of parameters, into their targets. */
export function parameterGrads(weights: readonly WeightGradient[], grad: AnyTensor): void {
  for (const { weight, write, placement } of weights) parameterGrad(weight, write(grad), () => placement(grad));
}

/** Where one pass writes the gradient of a vector beside that of its input. */
export interface VectorTarget {
  /** Engine memory; 0 when no gradient is wanted. */
  readonly handle: number;
  /** Add to it instead of overwriting it. */
  readonly accumulate: boolean;
  /** The gradient to deliver, once it is written, of a vector that is no parameter. */
  readonly gradient: () => AnyTensor | null;
}

const none = (): null => null;

/** f32 gradient memory of a vector: a parameter's target, a fresh tensor, or nothing. */
export function targetOf(vector: AnyTensor | undefined, placement: GradPlacement): VectorTarget {
  if (vector?.requiresGrad !== true) return { handle: 0, accumulate: false, gradient: none };
  if (vector.asParameter !== undefined) {
    if (checksPlacements()) checkContribution(vector.asParameter, placement().layout);
    const { tensor, accumulate } = vector.asParameter.gradTarget();
    return { handle: tensor.handle, accumulate, gradient: none };
  }
  const made = empty(vector.shape);
  if (checksPlacements()) place(made, placement().layout);
  return { handle: made.handle, accumulate: false, gradient: () => to(made, vector.dtype) };
}
