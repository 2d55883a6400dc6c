import { DTypeError } from '@megatron-ts/errors';
import { type AnyTensor, backward, copyInto, formatShape, isFloating, noGrad, scope, type Tensor, tensor } from '@megatron-ts/tensor';
import { ComparisonError } from './comparison-error.ts';

/** How gradients are compared with central differences. The defaults follow from the dtype: f64 affords far smaller numbers. */
export interface GradCheckOptions {
  /** Half the distance of the two points of a difference; 1e-2 for f32, 1e-5 for f64. */
  readonly eps?: number;
  /** Allowed difference relative to the central difference; 1e-2 for f32, 1e-6 for f64. */
  readonly rtol?: number;
  /** Allowed absolute difference; 2e-3 for f32, 1e-8 for f64. */
  readonly atol?: number;
}

/** What `gradCheck` found. */
export interface GradCheckReport {
  /** Largest absolute difference between a gradient and its central difference. */
  readonly maxError: number;
  /** Number of elements compared. */
  readonly checked: number;
}

const defaults = {
  f32: { eps: 1e-2, rtol: 1e-2, atol: 2e-3 },
  f64: { eps: 1e-5, rtol: 1e-6, atol: 1e-8 },
};

/**
 * Compares the gradients that the tape computes for `f` with central differences, for every element of every floating
 * input. An output of several elements is weighed with fixed numbers. Inputs are copied, apart from parameters: those are
 * moved in place and put back, and lose the gradient they hold. `f` must give the same result each time it is called.
 * @throws ComparisonError for the element that is furthest beyond what is allowed
 * @throws DTypeError UNSUPPORTED_DTYPE for bf16 and f16, whose steps are too coarse
 */
export function gradCheck<A extends readonly AnyTensor[]>(
  f: (...inputs: A) => Tensor,
  inputs: readonly [...A],
  options: GradCheckOptions = {},
): GradCheckReport {
  return scope(() => {
    const leaves = inputs.map(leafOf) as unknown as A;
    const exact = inputs.every(({ dtype }) => dtype !== 'f32');
    const tolerance = { ...defaults[exact ? 'f64' : 'f32'], ...options };
    const gradients = gradientsOf(f, leaves);
    const worst = { excess: 0, maxError: 0, checked: 0, error: undefined as ComparisonError | undefined };
    leaves.forEach((leaf, position) => {
      const gradient = gradients[position];
      if (gradient === undefined) return;
      differences(leaf, tolerance.eps, () => weighed(f, leaves)).forEach((expected, index) => {
        const actual = gradient[index] ?? Number.NaN;
        const error = Math.abs(actual - expected);
        const excess = error - tolerance.atol - tolerance.rtol * Math.abs(expected);
        worst.checked++;
        worst.maxError = Math.max(worst.maxError, error);
        if (excess <= worst.excess) return;
        worst.excess = excess;
        worst.error = disagreement(leaf, { position, index, actual, expected });
      });
    });
    if (worst.error !== undefined) throw worst.error;
    return { maxError: worst.maxError, checked: worst.checked };
  });
}

/** A leaf with the values of an input; parameters, which `f` may reach by another way, stand for themselves. */
function leafOf(input: AnyTensor): AnyTensor {
  if (!isFloating(input.dtype) || input.asParameter !== undefined) return input;
  if (input.dtype === 'f32' || input.dtype === 'f64') return tensor(input.toArray(), input.shape, { requiresGrad: true });
  throw new DTypeError('UNSUPPORTED_DTYPE', `gradCheck: an input is ${input.dtype}${formatShape(input.shape)}. Check in f32 or f64.`);
}

/** The fixed numbers that make one number of an output. */
function weightsFor(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => 0.25 + Math.cos(1 + i * 1.618));
}

function weighed<A extends readonly AnyTensor[]>(f: (...inputs: A) => Tensor, leaves: A): number {
  return noGrad(() =>
    scope(() => {
      const values = f(...leaves).toArray() as ArrayLike<number>;
      return weightsFor(values.length).reduce((sum, weight, i) => sum + weight * (values[i] ?? Number.NaN), 0);
    }),
  );
}

/** Gradients of the weighed output; zeros where none arrived, nothing for integers. */
function gradientsOf<A extends readonly AnyTensor[]>(f: (...inputs: A) => Tensor, leaves: A): (ArrayLike<number> | undefined)[] {
  for (const leaf of leaves) leaf.zeroGrad();
  scope(() => {
    const output = f(...leaves);
    backward([output], [tensor(weightsFor(output.numel), output.shape, { dtype: output.dtype })]);
  });
  const found = leaves.map((leaf) => {
    if (!isFloating(leaf.dtype)) return undefined;
    return (leaf.grad?.toArray() as ArrayLike<number> | undefined) ?? new Float32Array(leaf.numel);
  });
  for (const leaf of leaves) leaf.zeroGrad();
  return found;
}

/** `(f(x + eps) - f(x - eps)) / (2 eps)` for each element, with the distance that the dtype really makes. */
function differences(leaf: AnyTensor, eps: number, value: () => number): number[] {
  const values = leaf.toArray() as Float32Array | Float64Array;
  const at = (index: number, place: number) => {
    values[index] = place;
    scope(() => copyInto(leaf, tensor(values, leaf.shape)));
    return { place: values[index] ?? place, value: value() };
  };
  return Array.from(values, (own, index) => {
    const [above, below] = [at(index, own + eps), at(index, own - eps)];
    at(index, own);
    return (above.value - below.value) / (above.place - below.place);
  });
}

function disagreement(
  leaf: AnyTensor,
  found: { readonly position: number; readonly index: number; readonly actual: number; readonly expected: number },
): ComparisonError {
  const { position, index, actual, expected } = found;
  const name = leaf.asParameter === undefined ? '' : ` (parameter "${leaf.asParameter.name}")`;
  return new ComparisonError(
    `gradCheck: input ${position}${name} ${leaf.dtype}${formatShape(leaf.shape)}, element ${index}: backward gives ${actual}, the central difference is ${expected}. Look at the gradient that backward returns for this argument.`,
    { index, actual, expected },
  );
}
