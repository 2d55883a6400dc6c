import {
  add,
  type AnyTensor,
  backward,
  biasAdd,
  cat,
  defineOp,
  div,
  expand,
  layerNorm,
  linear,
  matmul,
  mul,
  mean,
  permute,
  reshape,
  scope,
  slice,
  sub,
  sum,
  tensor,
  withChecking,
  max,
  gelu,
  where,
  biasGelu,
  biasSwiglu,
  addRmsNorm,
  embedding,
} from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';
import { type AxisPlacement, layoutOf, place } from '../src/placements/index.ts';

// Two ranks, one after the other: what the checker says of their results must make the whole out of them.
const ranks = 2;

type Part = { readonly values: number[]; readonly shape: readonly number[] };

function random(seed: number) {
  let state = seed * 2654435761 + 12345;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) >>> 0;
    return state / 2 ** 32;
  };
}

function whole(x: AnyTensor): Part {
  return { values: [...(x.toArray() as Float32Array)], shape: x.shape };
}

/** What `rank` holds of a value. */
function partOf({ values, shape }: Part, placement: AxisPlacement, rank: number): Part {
  if (placement.kind === 'replicated') return { values, shape };
  if (placement.kind === 'partial') return { values: values.map((value, i) => (rank === 0 ? value - Math.sin(i) : Math.sin(i))), shape };
  const x = slice(tensor(values, shape), placement.dim, halfOf(shape[placement.dim] ?? 0, rank));
  return whole(x);
}

function halfOf(extent: number, rank: number) {
  return { start: (rank * extent) / ranks, end: ((rank + 1) * extent) / ranks };
}

/** The value that the ranks hold together. */
function joined(parts: readonly Part[], placement: AxisPlacement | undefined): Part {
  const [first = { values: [], shape: [] }, second = first] = parts;
  if (placement?.kind === 'sharded')
    return whole(
      cat(
        parts.map(({ values, shape }) => tensor(values, shape)),
        placement.dim,
      ),
    );
  if (placement?.kind === 'partial') {
    const { op } = placement;
    const one = { sum: (a: number, b: number) => a + b, mean: (a: number, b: number) => (a + b) / 2, max: Math.max, min: Math.min }[op];
    return { values: first.values.map((value, i) => one(value, second.values[i] ?? 0)), shape: first.shape };
  }
  expectClose(second, first);
  return first;
}

function expectClose(actual: Part, expected: Part): void {
  expect(actual.shape).toEqual(expected.shape);
  const worst = actual.values.reduce((most, value, i) => Math.max(most, Math.abs(value - (expected.values[i] ?? NaN))), 0);
  expect(worst).toBeLessThan(1e-4);
}

interface Case {
  /** Dims of which parts are stacked in an order of their own; none by default. */
  readonly uncut?: readonly number[];
  readonly shapes: readonly (readonly number[])[];
  /** Sizes of what is cut depend on the rank: `local` halves those that the cut of the first operand halves. */
  readonly op: (inputs: AnyTensor[], local: (extent: number) => number) => AnyTensor;
}

const cases: Record<string, Case> = {
  add: {
    shapes: [
      [4, 2, 6],
      [4, 2, 6],
    ],
    op: ([a, b]) => add(a as AnyTensor, b as AnyTensor),
  },
  'add, broadcast': { shapes: [[4, 2, 6], [6]], op: ([a, b]) => add(a as AnyTensor, b as AnyTensor) },
  sub: {
    shapes: [
      [4, 6],
      [4, 1],
    ],
    op: ([a, b]) => sub(a as AnyTensor, b as AnyTensor),
  },
  mul: {
    shapes: [
      [4, 2, 6],
      [2, 6],
    ],
    op: ([a, b]) => mul(a as AnyTensor, b as AnyTensor),
  },
  div: {
    shapes: [
      [4, 6],
      [4, 6],
    ],
    op: ([a, b]) => div(a as AnyTensor, add(mul(b as AnyTensor, b as AnyTensor), 1)),
  },
  gelu: { shapes: [[4, 6]], op: ([a]) => gelu(a as AnyTensor) },
  where: {
    shapes: [
      [4, 6],
      [4, 6],
    ],
    op: ([a, b]) => where(tensor(Uint8Array.of(1), [1, 1]), a as AnyTensor, b as AnyTensor),
  },
  matmul: {
    shapes: [
      [2, 4, 6],
      [2, 6, 8],
    ],
    op: ([a, b]) => matmul(a as AnyTensor, b as AnyTensor),
  },
  'matmul, one for all': {
    shapes: [
      [2, 4, 6],
      [6, 8],
    ],
    op: ([a, b]) => matmul(a as AnyTensor, b as AnyTensor),
  },
  linear: {
    shapes: [
      [4, 2, 6],
      [8, 6],
    ],
    op: ([x, w]) => linear(x as AnyTensor, w as AnyTensor),
  },
  'linear with bias': { shapes: [[4, 2, 6], [8, 6], [8]], op: ([x, w, b]) => linear(x as AnyTensor, w as AnyTensor, b as AnyTensor) },
  biasAdd: { shapes: [[4, 2, 6], [6], [4, 2, 6]], op: ([x, b, r]) => biasAdd(x as AnyTensor, b, r as AnyTensor) },
  biasGelu: { shapes: [[4, 2, 6], [6]], op: ([x, b]) => biasGelu(x as AnyTensor, b as AnyTensor) },
  biasSwiglu: { shapes: [[4, 2, 8]], uncut: [2], op: ([x]) => biasSwiglu(x as AnyTensor) },
  layerNorm: { shapes: [[4, 2, 6], [6], [6]], op: ([x, weight, bias]) => layerNorm(x as AnyTensor, { weight, bias } as never) },
  addRmsNorm: {
    shapes: [[4, 2, 6], [4, 2, 6], [6]],
    op: ([x, residual, weight]) => {
      const { sum: stream, normed } = addRmsNorm(x as AnyTensor, { residual, weight } as never);
      return add(stream as AnyTensor, normed as AnyTensor);
    },
  },
  sum: { shapes: [[4, 2, 6]], op: ([a]) => sum(a as AnyTensor, 0) },
  'sum of all': { shapes: [[4, 2, 6]], op: ([a]) => sum(a as AnyTensor) },
  mean: { shapes: [[4, 2, 6]], op: ([a]) => mean(a as AnyTensor, [0, 2], { keepDims: true }) },
  max: { shapes: [[4, 2, 6]], op: ([a]) => max(a as AnyTensor, 1) },
  permute: { shapes: [[4, 2, 6]], op: ([a]) => permute(a as AnyTensor, [2, 0, 1]) },
  'reshape, split': {
    shapes: [[4, 2, 12]],
    op: ([a], local) => reshape(a as AnyTensor, [a?.shape[0] ?? 0, a?.shape[1] ?? 0, local(4), 3]),
  },
  'reshape, merge': { shapes: [[4, 2, 6]], op: ([a]) => reshape(a as AnyTensor, [(a?.shape[0] ?? 0) * (a?.shape[1] ?? 0), -1]) },
  expand: { shapes: [[4, 1, 6]], op: ([a]) => expand(a as AnyTensor, [3, a?.shape[0] ?? 0, 5, a?.shape[2] ?? 0]) },
  slice: { shapes: [[4, 3, 6]], op: ([a]) => slice(a as AnyTensor, 1, { start: 1, end: 3 }) },
  cat: {
    uncut: [1],
    shapes: [
      [4, 2, 6],
      [4, 2, 6],
    ],
    op: ([a, b]) => cat([a as AnyTensor, b as AnyTensor], 1),
  },
  embedding: { shapes: [[6, 4]], op: ([w]) => embedding(w as AnyTensor, tensor(Int32Array.of(2, 0, 1, 2), [2, 2])) },
};

/** Passes its input on, and keeps the gradient that arrives. */
function probe(seen: (grad: AnyTensor) => void): (x: AnyTensor) => AnyTensor {
  return defineOp({
    name: 'probe',
    forward: (x: AnyTensor) => ({ output: x, saved: {} }),
    backward: (grad) => {
      seen(grad);
      return [null];
    },
    placement: (x) => x,
  });
}

interface Outcome {
  readonly output: Part;
  readonly grads: (Part | undefined)[];
  readonly layouts: (AxisPlacement | undefined)[];
}

/** One rank's forward and backward. @param seed - makes the gradient of the output of what the output is */
function runCase(
  { op }: Case,
  inputs: readonly Part[],
  placements: readonly (AxisPlacement | undefined)[],
  seed: (out: AnyTensor) => Part,
): Outcome {
  return scope(() => {
    const grads: (Part | undefined)[] = inputs.map(() => undefined);
    const layouts: (AxisPlacement | undefined)[] = [];
    const given = inputs.map(({ values, shape }, i) => {
      const x: AnyTensor = tensor(values, shape, { requiresGrad: true });
      const placement = placements[i];
      if (placement !== undefined) place(x, { tp: placement });
      return probe((grad) => {
        grads[i] = whole(grad);
        layouts[i + 1] = layoutOf(grad)?.['tp'];
      })(x);
    });
    const cutsLast = placements[0]?.kind === 'sharded' && placements[0].dim === 2;
    const out = op(given, (extent) => (cutsLast ? extent / ranks : extent));
    layouts[0] = layoutOf(out)?.['tp'];
    const { values, shape } = seed(out);
    backward([out], [tensor(values, shape)]);
    return { output: whole(out), grads, layouts };
  });
}

const isRefused = (error: unknown) => (error as { code?: string }).code === 'WRONG_PLACEMENT';
const isMisfit = (error: unknown) => (error as { name?: string }).name === 'ShapeError';

describe('the placement checker says of two ranks what they hold', () => {
  it.each(Object.keys(cases))('%s', (name) => {
    const test = cases[name] as Case;
    const next = random(name.length * 7 + 1);
    const found = { sound: 0, refused: 0 };
    for (let round = 0; round < 200; round++) {
      const inputs = test.shapes.map((shape) => {
        const count = shape.reduce((product, extent) => product * extent, 1);
        return { shape, values: Array.from({ length: count }, () => next() * 2 - 1) };
      });
      const placements = test.shapes.map((shape) => placementFor(shape, next, test.uncut));
      let outputGrad: Part = { values: [], shape: [] };
      const alone = withChecking(false, () =>
        runCase(test, inputs, [], (out) => {
          outputGrad = { shape: out.shape, values: Array.from({ length: out.numel }, () => next() * 2 - 1) };
          return outputGrad;
        }),
      );
      let each: Outcome[];
      try {
        each = [0, 1].map((rank) =>
          withChecking(true, () =>
            runCase(
              test,
              inputs.map((input, i) => partOf(input, placements[i] as AxisPlacement, rank)),
              placements,
              (out) => gradOf(outputGrad, layoutOf(out)?.['tp'], rank),
            ),
          ),
        );
      } catch (error) {
        if (!isRefused(error) && !isMisfit(error)) throw error;
        found.refused++;
        continue;
      }
      found.sound++;
      const [first] = each;
      expectClose(
        joined(
          each.map(({ output }) => output),
          first?.layouts[0],
        ),
        alone.output,
      );
      inputs.forEach((_, i) => {
        const parts = each.map(({ grads }) => grads[i] as Part);
        const expected = alone.grads[i] as Part;
        // The gradient of what is cut is cut alike, that of a summand is whole.
        expectClose(joined(parts, first?.layouts[i + 1]), expected);
      });
    }
    expect(found.sound).toBeGreaterThan(2);
  });
});

/** A rank's gradient of an output: that of its part, or of its summand, which is the whole gradient. */
function gradOf(grad: Part, placement: AxisPlacement | undefined, rank: number): Part {
  if (placement?.kind === 'partial' && placement.op === 'mean') return { ...grad, values: grad.values.map((value) => value / ranks) };
  return placement?.kind === 'sharded' ? partOf(grad, placement, rank) : grad;
}

function placementFor(shape: readonly number[], next: () => number, uncut: readonly number[] = []): AxisPlacement {
  const dims = shape.flatMap((extent, dim) => (extent % ranks === 0 && !uncut.includes(dim) ? [dim] : []));
  const choice = next();
  if (choice < 0.3 || dims.length === 0) return { kind: 'replicated' };
  if (choice < 0.45) return { kind: 'partial', op: 'sum', since: 'the start' };
  return { kind: 'sharded', dim: dims[Math.floor(next() * dims.length)] ?? 0, name: 'some' };
}
