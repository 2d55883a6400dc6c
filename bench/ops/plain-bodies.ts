import * as ops from '@megatron-ts/tensor';
import type { AnyTensor } from '@megatron-ts/tensor';
import type { BodyOf } from './body.ts';
import type { Inputs } from './values.ts';

/** Values around 1, so that logarithms, roots and quotients are defined. */
const positive = { scale: 0.5, shift: 1 };

const { neg, exp, log, sqrt, tanh, sigmoid, abs, relu, gelu, geluErf, square, reciprocal, silu } = ops;
const unary = { neg, exp, log, sqrt, tanh, sigmoid, abs, relu, gelu, geluErf, square, reciprocal, silu };
const arePositive = new Set(['log', 'sqrt', 'reciprocal', 'div', 'pow']);
const { add, sub, mul, div, pow, maximum, minimum } = ops;
const binary = { add, sub, mul, div, pow, maximum, minimum };
const { eq, ne, lt, le, gt, ge } = ops;
const compare = { eq, ne, lt, le, gt, ge };
const { sum, mean, max, min } = ops;
const reduce = { sum, mean, max, min };

type UnaryOp = (x: AnyTensor) => AnyTensor;
type BinaryOp = (a: AnyTensor, b: AnyTensor | number) => AnyTensor;

function table<O>(ops: Readonly<Record<string, O>>, bodyOf: (name: string, op: O) => BodyOf): [string, BodyOf][] {
  return Object.entries(ops).map(([name, op]) => [name, bodyOf(name, op)]);
}

const ofOne =
  (name: string, op: UnaryOp): BodyOf =>
  (inputs, { rows = 0, cols = 0 }) => {
    const x = inputs.make([rows, cols], arePositive.has(name) ? positive : {});
    return () => op(x);
  };

const ofTwo =
  (name: string, op: BinaryOp): BodyOf =>
  (inputs, { rows = 0, cols = 0, broadcast = 0, scalar = 0 }) => {
    const values = arePositive.has(name) ? positive : {};
    const a = inputs.make([rows, cols], values);
    const b = scalar === 1 ? 0.9 : inputs.make(broadcast === 1 ? [cols] : [rows, cols], values);
    return () => op(a, b);
  };

const reduction =
  (_: string, op: (x: AnyTensor, dims?: number) => AnyTensor): BodyOf =>
  (inputs, { rows = 0, cols = 0, dim = -1 }) => {
    const x = inputs.make([rows, cols]);
    return () => (dim === -1 ? op(x) : op(x, dim));
  };

const halves = (inputs: Inputs, { seq = 0, batch = 0, cols = 0 }: Readonly<Record<string, number>>) => inputs.make([seq, batch, cols]);

/** Operations on any tensors. */
export const plainBodies: Readonly<Record<string, BodyOf>> = {
  ...Object.fromEntries(table<UnaryOp>(unary, ofOne)),
  ...Object.fromEntries(table<BinaryOp>(binary, ofTwo)),
  ...Object.fromEntries(table<BinaryOp>(compare, ofTwo)),
  ...Object.fromEntries(table(reduce, reduction)),
  where: (inputs, { rows = 0, cols = 0 }) => {
    const [a, b] = [inputs.make([rows, cols]), inputs.make([rows, cols])];
    const condition = inputs.keep(ops.gt(a.detach(), b.detach()));
    return () => ops.where(condition, a, b);
  },
  gather: (inputs, { rows = 0, cols = 0, picked = 0 }) => {
    const [x, index] = [inputs.make([rows, cols]), inputs.indices([rows, picked], cols)];
    return () => ops.gather(x, 1, index);
  },
  permute: (inputs, sizes) => {
    const x = halves(inputs, sizes);
    return () => ops.permute(x, [1, 0, 2]);
  },
  slice: (inputs, sizes) => {
    const x = halves(inputs, sizes);
    return () => ops.slice(x, 2, { start: 0, end: (sizes['cols'] ?? 0) / 2 });
  },
  expand: (inputs, { seq = 0, batch = 0, cols = 0 }) => {
    const x = inputs.make([seq, 1, cols]);
    return () => ops.expand(x, [seq, batch, cols]);
  },
  cat: (inputs, sizes) => {
    const [a, b] = [halves(inputs, sizes), halves(inputs, sizes)];
    return () => ops.cat([a, b], 2);
  },
  toBf16: (inputs, { rows = 0, cols = 0 }) => {
    const x = inputs.make([rows, cols], { dtype: 'f32' });
    return () => ops.to(x, 'bf16');
  },
  toF32: (inputs, { rows = 0, cols = 0 }) => {
    const x = inputs.make([rows, cols], { dtype: 'bf16' });
    return () => ops.to(x, 'f32');
  },
};
