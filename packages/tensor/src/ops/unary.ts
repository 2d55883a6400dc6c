import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { isRecorded, record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { combined, place, placed } from '../placements/index.ts';
import { result } from '../result.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { requireDType } from './operands.ts';

// The engine's codes.
const codes = {
  neg: 0,
  exp: 1,
  log: 2,
  sqrt: 3,
  tanh: 4,
  sigmoid: 5,
  abs: 6,
  relu: 7,
  gelu: 8,
  geluErf: 9,
  square: 10,
  reciprocal: 11,
  silu: 12,
};
type Op = keyof typeof codes;

// Operations whose derivative is a function of the result: they save it instead of their input.
const savesResult: ReadonlySet<Op> = new Set<Op>(['exp', 'sqrt', 'tanh', 'sigmoid', 'reciprocal', 'relu']);

function apply(op: Op, x: AnyTensor): AnyTensor {
  if (x.dtype !== 'f32') requireDType(op, { x }, 'f32', 'f64', 'bf16');
  const y = result(op, engine.unary(codes[op], x.handle), formOf(x));
  if (checksPlacements()) place(y, combined(op, x.shape, op === 'neg' ? { addends: [placed(x)] } : { factors: [placed(x)] }).layout);
  if (!isRecorded(x)) return y;
  const saved = savesResult.has(op) ? y : x;
  return record(y, { op, inputs: [x], saved: [saved], backward: gradientThrough(op, saved) });
}

function formOf({ shape, dtype, placement }: AnyTensor) {
  return { shape, dtype, placement: placement as Placement };
}

function gradientThrough(op: Op, saved: AnyTensor): (grad: AnyTensor) => AnyTensor[] {
  return (grad) => {
    const dx = result(op, engine.unaryBackward(codes[op], saved.handle, grad.handle), formOf(saved));
    // The derivative of neg is a number, whatever its input is.
    if (checksPlacements())
      place(dx, combined(op, dx.shape, { addends: [placed(grad)], factors: op === 'neg' ? [] : [placed(saved)] }).layout);
    return [dx];
  };
}

/** -x. */
export function neg<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('neg', x);
}

/** Exponential. */
export function exp<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('exp', x);
}

/** Natural logarithm. */
export function log<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('log', x);
}

/** Square root. */
export function sqrt<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('sqrt', x);
}

/** Hyperbolic tangent. */
export function tanh<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('tanh', x);
}

/** Logistic function. */
export function sigmoid<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('sigmoid', x);
}

/** Absolute value; its gradient at 0 is 0. */
export function abs<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('abs', x);
}

/** max(x, 0); its gradient at 0 is 0. */
export function relu<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('relu', x);
}

/** GELU, tanh form. @source Hendrycks and Gimpel 2016, section 2 */
export function gelu<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('gelu', x);
}

/** GELU by the error function. @source Hendrycks and Gimpel 2016, section 2 */
export function geluErf<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('geluErf', x);
}

/** x². */
export function square<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('square', x);
}

/** 1 / x. */
export function reciprocal<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('reciprocal', x);
}

/** x · sigmoid(x). @source Elfwing et al. 2017 */
export function silu<P extends Placement>(x: Tensor<P>): Tensor<P> {
  return apply('silu', x);
}
