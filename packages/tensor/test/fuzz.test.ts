import { type AnyTensor, evaluate, matmul, tensor } from '@megatron-ts/tensor';
import * as room from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';
import { at, build, type Dense, expanded, folded, multiplied, sliced, transposed, zipped } from './dense-reference.ts';

/** The same value twice: in the engine and in the reference. */
interface Pair {
  readonly x: AnyTensor;
  readonly want: Dense;
}

/** Draws from a seed: a linear congruential generator. */
class Draws {
  private state: number;

  constructor(seed: number) {
    this.state = (seed * 2_654_435_761 + 1) >>> 0;
  }

  /** A whole number below `limit`. */
  below(limit: number): number {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.state / 2 ** 32) * limit);
  }

  /** One of `choices`. */
  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** Extents of a small shape; now and then one of them is 0, or longer than a vector. */
  shape(rank: number): number[] {
    return Array.from({ length: rank }, () => this.of([1, 1, 2, 3, 4, 5, 7, this.below(8) === 0 ? 0 : 2, this.below(6) === 0 ? 37 : 3]));
  }
}

function drawn(draws: Draws, shape: readonly number[]): Pair {
  const want = build(shape, () => Math.fround(draws.below(4001) / 1000 - 2));
  return { x: tensor(want.data, shape), want };
}

/** Up to three views one after another. */
function viewed(draws: Draws, start: Pair): Pair {
  let { x, want } = start;
  for (let left = draws.below(4); left > 0; left--) {
    const rank = want.shape.length;
    const kind = draws.of(['transpose', 'slice', 'reshape', 'expand']);
    if (kind === 'transpose' && rank > 1) {
      const [a, b] = [draws.below(rank), draws.below(rank)];
      [x, want] = [x.transpose(a, b), transposed(want, a, b)];
    } else if (kind === 'slice' && rank > 0) {
      const dim = draws.below(rank);
      const from = draws.below((want.shape[dim] as number) + 1);
      const to = from + draws.below((want.shape[dim] as number) - from + 1);
      [x, want] = [x.slice(dim, from, to), sliced(want, dim, [from, to])];
    } else if (kind === 'reshape') {
      const shape = draws.below(2) === 0 ? [want.data.length] : [1, ...want.shape];
      [x, want] = [x.reshape(shape), { shape, data: want.data }];
    } else if (kind === 'expand' && rank < 4) {
      const shape = [draws.below(3) + 1, ...want.shape.map((extent) => (extent === 1 ? draws.below(4) : extent))];
      [x, want] = [x.expand(shape), expanded(want, shape)];
    }
  }
  return { x, want };
}

/** The other operand of an operation that broadcasts: some dims 1, some left out. */
function partner(draws: Draws, shape: readonly number[]): Pair {
  const kept = shape.slice(draws.below(shape.length + 1));
  const target = kept.map((extent) => (draws.below(3) === 0 ? 1 : extent));
  const swap = target.length > 1 && draws.below(2) === 0;
  if (!swap) return drawn(draws, target);
  const last = target.length - 1;
  const { x, want } = drawn(draws, [target[last] as number, ...target.slice(1, last), target[0] as number]);
  return { x: x.transpose(0, last), want: transposed(want, 0, last) };
}

function expectAgreement(found: AnyTensor, want: Dense, tolerance: number): void {
  expect(found.shape).toEqual(want.shape);
  const values = found.toArray() as ArrayLike<number>;
  expect(values.length).toBe(want.data.length);
  want.data.forEach((value, i) => {
    const own = values[i] as number;
    const isNear = Object.is(own, value) || own === value || Math.abs(own - value) <= tolerance * Math.max(1, Math.abs(value));
    if (!isNear) expect({ at: i, value: own }).toEqual({ at: i, value });
  });
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const unary: Readonly<Record<string, (x: number) => number>> = {
  neg: (x) => -x,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  tanh: Math.tanh,
  sigmoid,
  abs: Math.abs,
  relu: (x) => Math.max(x, 0),
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  square: (x) => x * x,
  reciprocal: (x) => 1 / x,
  silu: (x) => x * sigmoid(x),
};
const binary: Readonly<Record<string, (x: number, y: number) => number>> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  maximum: Math.max,
  minimum: Math.min,
  eq: (x, y) => Number(x === y),
  ne: (x, y) => Number(x !== y),
  lt: (x, y) => Number(x < y),
  le: (x, y) => Number(x <= y),
  gt: (x, y) => Number(x > y),
  ge: (x, y) => Number(x >= y),
};
const reduce: Readonly<Record<string, (values: readonly number[]) => number>> = {
  sum: (values) => values.reduce((sum, value) => sum + value, 0),
  mean: (values) => values.reduce((sum, value) => sum + value, 0) / values.length,
  max: (values) => Math.max(...values),
  min: (values) => Math.min(...values),
};

const ops = room as unknown as Record<string, (...args: unknown[]) => AnyTensor>;
const call = (name: string, ...args: unknown[]) => (ops[name] as (...args: unknown[]) => AnyTensor)(...args);
const seeds = (count: number) => Array.from({ length: count }, (_, seed) => seed);

describe('random shapes and views agree with a naive reference', () => {
  it.each(Object.keys(unary))('in %s', (name) => {
    for (const seed of seeds(12))
      evaluate(() => {
        const draws = new Draws(seed);
        const { x, want } = viewed(draws, drawn(draws, draws.shape(draws.below(4))));
        expectAgreement(call(name, x), { shape: want.shape, data: want.data.map((value) => unary[name]?.(value) as number) }, 2e-6);
      });
  });

  it.each(Object.keys(binary))('in %s, broadcast', (name) => {
    for (const seed of seeds(16))
      evaluate(() => {
        const draws = new Draws(1000 + seed);
        const a = viewed(draws, drawn(draws, draws.shape(draws.below(4))));
        const b = partner(draws, a.want.shape);
        const [first, second] = draws.below(2) === 0 ? [a, b] : [b, a];
        const f = binary[name] as (x: number, y: number) => number;
        expectAgreement(call(name, first.x, second.x), zipped(first.want, second.want, a.want.shape, f), 1e-6);
      });
  });

  it.each(Object.keys(reduce))('in %s over any dims', (name) => {
    for (const seed of seeds(24))
      evaluate(() => {
        const draws = new Draws(2000 + seed);
        const { x, want } = viewed(draws, drawn(draws, draws.shape(1 + draws.below(3))));
        const dims = want.shape.flatMap((_, dim) => (draws.below(2) === 0 ? [dim] : []));
        const empty = dims.some((dim) => want.shape[dim] === 0);
        if (empty && (name === 'max' || name === 'min')) {
          expect(() => call(name, x, dims)).toThrow('Give at least one.');
          return;
        }
        expectAgreement(call(name, x, dims), folded(want, dims, reduce[name] as (values: readonly number[]) => number), 1e-5);
      });
  });

  it('in where', () => {
    for (const seed of seeds(24))
      evaluate(() => {
        const draws = new Draws(3000 + seed);
        const a = viewed(draws, drawn(draws, draws.shape(draws.below(4))));
        const [b, c] = [partner(draws, a.want.shape), partner(draws, a.want.shape)];
        const mask = zipped(c.want, c.want, c.want.shape, (value) => Number(value > 0));
        const want = build(a.want.shape, (index) => (at(mask, index) === 1 ? at(a.want, index) : at(b.want, index)));
        expectAgreement(call('where', c.x.gt(0), a.x, b.x), want, 0);
      });
  });

  it('in products of batched matrices', () => {
    for (const seed of seeds(40))
      evaluate(() => {
        const draws = new Draws(4000 + seed);
        const [rows, inner, cols] = [1 + draws.below(40), draws.below(35), 1 + draws.below(40)];
        const batch = draws.shape(draws.below(3));
        const left = drawn(draws, [...batch.map((extent) => (draws.below(3) === 0 ? 1 : extent)), rows, inner]);
        const tall = drawn(draws, [...batch, cols, inner]);
        const rank = tall.want.shape.length;
        const right = { x: tall.x.transpose(rank - 1, rank - 2), want: transposed(tall.want, rank - 1, rank - 2) };
        expectAgreement(matmul(left.x, right.x), multiplied(left.want, right.want, batch), 1e-5);
      });
  });
});
