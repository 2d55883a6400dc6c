import { checksPlacements } from '../check-mode.ts';
import { engine } from '../engine.ts';
import { isRecorded, record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { combined, everywhere, isPartial, place, placed, zeroLayout } from '../placements/index.ts';
import { result } from '../result.ts';
import { broadcastShape, sameShape, type Shape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { compareRaw } from './compare.ts';
import { filled } from './in-place.ts';
import { elementLayout, requireDType, requireSameDType } from './operands.ts';
import { sum } from './reduce.ts';
import { where } from './select.ts';
import { log } from './unary.ts';
import { reshape } from './view.ts';

// The engine's codes; tests compare them with its table.
const codes = { add: 0, sub: 1, mul: 2, div: 3, pow: 4, maximum: 5, minimum: 6 };
type Op = keyof typeof codes;

/** Integers neither divide nor have powers; f16 is storage. */
function requireNumbers(op: Op, a: AnyTensor): void {
  if (a.dtype === 'f32') return;
  if (op === 'div' || op === 'pow') requireDType(op, { a }, 'f32', 'f64', 'bf16');
  else requireDType(op, { a }, 'f32', 'f64', 'bf16', 'i32', 'i64');
}

function raw(op: Op, a: AnyTensor, b: AnyTensor): AnyTensor {
  requireSameDType(op, a, b);
  requireNumbers(op, a);
  const shape = broadcastShape(op, a.shape, b.shape);
  const y = result(op, engine.binary(codes[op], a.handle, b.handle, elementLayout(op, shape, [a.shape, b.shape])), {
    shape,
    dtype: a.dtype,
    placement: a.placement as Placement,
  });
  return checksPlacements() ? placePair(y, op, [a, b]) : y;
}

/** Sums are linear in both operands, products in either and quotients in the first; no other is in any. */
function placePair(y: AnyTensor, op: Op, [a, b]: readonly [AnyTensor, AnyTensor]): AnyTensor {
  const [left, right] = [placed(a), placed(b)];
  if (op === 'add' || op === 'sub') return place(y, combined(op, y.shape, { addends: [left, right] }).layout);
  if (op === 'mul' && isPartial(right)) return place(y, combined(op, y.shape, { addends: [right], factors: [left] }).layout);
  const isLinear = op === 'mul' || op === 'div';
  return place(y, combined(op, y.shape, isLinear ? { addends: [left], factors: [right] } : { factors: [left, right] }).layout);
}

function rawScalar(op: Op, a: AnyTensor, value: number, reversed = false): AnyTensor {
  requireNumbers(op, a);
  const y = result(op, engine.binaryScalar(codes[op], a.handle, value, reversed), {
    shape: a.shape,
    dtype: a.dtype,
    placement: a.placement as Placement,
  });
  if (!checksPlacements()) return y;
  const number = { shape: [], layout: value === 0 ? zeroLayout : everywhere };
  if (op === 'add' || op === 'sub') return place(y, combined(op, a.shape, { addends: [placed(a), number] }).layout);
  const isLinear = op === 'mul' || (op === 'div' && !reversed);
  return place(y, combined(op, a.shape, isLinear ? { addends: [placed(a)] } : { factors: [placed(a)] }).layout);
}

/** Sums a gradient over the dims in which an operand was repeated. */
export function sumToShape(grad: AnyTensor, shape: Shape): AnyTensor {
  if (sameShape(grad.shape, shape)) return grad;
  const extra = grad.shape.length - shape.length;
  const dims = grad.shape.flatMap((extent, dim) => (dim < extra || (shape[dim - extra] === 1 && extent !== 1) ? [dim] : []));
  return reshape(dims.length === 0 ? grad : sum(grad, dims), shape);
}

type Gradient = (grad: AnyTensor, a: AnyTensor, b: AnyTensor) => AnyTensor;

interface Derivative {
  readonly a: Gradient;
  readonly b: Gradient;
  readonly needsValues: boolean;
}

interface Quotient {
  readonly a: AnyTensor;
  readonly b: AnyTensor;
  /** a / b. */
  readonly y: AnyTensor;
}

/** The gradient of b is that of a times -y: two passes, where the formula in a and b takes four more. */
function quotientGradients(grad: AnyTensor, { a, b, y }: Quotient): (AnyTensor | null)[] {
  const ofA = raw('div', grad, b);
  return [
    a.requiresGrad ? sumToShape(ofA, a.shape) : null,
    b.requiresGrad ? sumToShape(rawScalar('mul', raw('mul', ofA, y), -1), b.shape) : null,
  ];
}

/** The half of a tie goes to each side, as in PyTorch. */
function chosen(grad: AnyTensor, a: AnyTensor, b: AnyTensor, compare: 'gt' | 'lt'): AnyTensor {
  const half = rawScalar('mul', grad, 0.5);
  const zero = rawScalar('mul', grad, 0);
  return where(compareRaw(compare, a, b), grad, where(compareRaw('eq', a, b), half, zero));
}

function zeroLike(grad: AnyTensor): AnyTensor {
  return filled([], { dtype: grad.dtype });
}

/** 0 to a power of at least 0 does not change with it, as in PyTorch; the logarithm alone would give NaN. */
function powerGradient(grad: AnyTensor, a: AnyTensor, b: AnyTensor): AnyTensor {
  const zero = zeroLike(grad);
  return where(compareRaw('eq', a, 0), where(compareRaw('ge', b, 0), zero, grad), grad);
}

const derivatives: Record<Exclude<Op, 'div'>, Derivative> = {
  add: { a: (grad) => grad, b: (grad) => grad, needsValues: false },
  sub: { a: (grad) => grad, b: (grad) => rawScalar('mul', grad, -1), needsValues: false },
  mul: { a: (grad, _, b) => raw('mul', grad, b), b: (grad, a) => raw('mul', grad, a), needsValues: true },
  pow: {
    a: (grad, a, b) =>
      where(compareRaw('eq', b, 0), zeroLike(grad), raw('mul', grad, raw('mul', b, raw('pow', a, rawScalar('sub', b, 1))))),
    b: (grad, a, b) => powerGradient(raw('mul', grad, raw('mul', raw('pow', a, b), log(a))), a, b),
    needsValues: true,
  },
  maximum: { a: (grad, a, b) => chosen(grad, a, b, 'gt'), b: (grad, a, b) => chosen(grad, a, b, 'lt'), needsValues: true },
  minimum: { a: (grad, a, b) => chosen(grad, a, b, 'lt'), b: (grad, a, b) => chosen(grad, a, b, 'gt'), needsValues: true },
};

function tensors(op: Exclude<Op, 'div'>, a: AnyTensor, b: AnyTensor): AnyTensor {
  const y = raw(op, a, b);
  if (!isRecorded(a, b)) return y;
  const derivative = derivatives[op];
  return record(y, { op, inputs: [a, b], saved: derivative.needsValues ? [a, b] : [], backward: gradientsBy(derivative, a, b) });
}

function gradientsBy(derivative: Derivative, a: AnyTensor, b: AnyTensor): (grad: AnyTensor) => (AnyTensor | null)[] {
  return (grad) => [
    a.requiresGrad ? sumToShape(derivative.a(grad, a, b), a.shape) : null,
    b.requiresGrad ? sumToShape(derivative.b(grad, a, b), b.shape) : null,
  ];
}

function quotient(a: AnyTensor, b: AnyTensor): AnyTensor {
  const y = raw('div', a, b);
  if (!isRecorded(a, b)) return y;
  return record(y, { op: 'div', inputs: [a, b], saved: [b, y], backward: (grad) => quotientGradients(grad, { a, b, y }) });
}

const scalarGradients: Record<'add' | 'sub' | 'mul' | 'div' | 'pow', (grad: AnyTensor, a: AnyTensor, value: number) => AnyTensor> = {
  add: (grad) => grad,
  sub: (grad) => grad,
  mul: (grad, _, value) => rawScalar('mul', grad, value),
  div: (grad, _, value) => rawScalar('div', grad, value),
  pow: (grad, a, value) =>
    value === 0 ? rawScalar('mul', grad, 0) : raw('mul', grad, rawScalar('mul', rawScalar('pow', a, value - 1), value)),
};

function withScalar(op: keyof typeof scalarGradients, a: AnyTensor, value: number): AnyTensor {
  const y = rawScalar(op, a, value);
  if (!isRecorded(a)) return y;
  return record(y, { op, inputs: [a], saved: op === 'pow' ? [a] : [], backward: gradientOfScalar(op, a, value) });
}

function gradientOfScalar(op: keyof typeof scalarGradients, a: AnyTensor, value: number): (grad: AnyTensor) => AnyTensor[] {
  return (grad) => [scalarGradients[op](grad, a, value)];
}

/** a + b, with broadcasting. */
export function add<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return typeof b === 'number' ? withScalar('add', a, b) : tensors('add', a, b);
}

/** a - b, with broadcasting. */
export function sub<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return typeof b === 'number' ? withScalar('sub', a, b) : tensors('sub', a, b);
}

/** a · b, element by element. */
export function mul<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return typeof b === 'number' ? withScalar('mul', a, b) : tensors('mul', a, b);
}

/** a / b, element by element. */
export function div<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return typeof b === 'number' ? withScalar('div', a, b) : quotient(a, b);
}

/** a to the power b, element by element. */
export function pow<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return typeof b === 'number' ? withScalar('pow', a, b) : tensors('pow', a, b);
}

function asTensor(a: AnyTensor, b: AnyTensor | number): AnyTensor {
  return typeof b === 'number' ? filled([], { value: b, dtype: a.dtype }) : b;
}

/** The larger of two, element by element; NaN wins. */
export function maximum<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return tensors('maximum', a, asTensor(a, b));
}

/** The smaller of two, element by element; NaN wins. */
export function minimum<P extends Placement>(a: Tensor<P>, b: Tensor<P> | number): Tensor<P> {
  return tensors('minimum', a, asTensor(a, b));
}
