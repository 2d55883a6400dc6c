import {
  add,
  addLayerNorm,
  addRmsNorm,
  type AnyTensor,
  backward,
  biasAdd,
  biasGeglu,
  biasGelu,
  biasSwiglu,
  crossEntropy,
  type DType,
  embedding,
  gelu,
  layerNorm,
  linear,
  matmul,
  mul,
  Parameter,
  rmsNorm,
  scope,
  selfAttention,
  type Shape,
  shardedLinearCrossEntropy,
  sum,
  type Tensor,
  tensor,
} from '@megatron-ts/tensor';
import { expectBitwise, expectRelativeL2 } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { expectRoundedOnce, rounded } from './bf16-steps.ts';

const wave = (shape: Shape, phase: number): Float32Array =>
  rounded(Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, (_, i) => Math.sin(1.3 * i + phase)));
const values = (x: AnyTensor | undefined): Float32Array => (x as AnyTensor).toArray() as Float32Array;
const tokens = (shape: Shape, below: number) =>
  tensor(
    wave(shape, 4).map((value) => Math.floor(Math.abs(value) * below) % below),
    [...shape],
    { dtype: 'i32' },
  );

type Op = (...leaves: AnyTensor[]) => AnyTensor;

/** Result and gradients of leaves whose values bf16 can hold. */
function run(op: Op, shapes: readonly Shape[], dtype: DType): { readonly output: AnyTensor; readonly grads: AnyTensor[] } {
  const leaves: AnyTensor[] = shapes.map((shape, i) => tensor(wave(shape, i), shape, { dtype, requiresGrad: true }));
  const output = op(...leaves);
  backward([output], [tensor(wave(output.shape, 9), output.shape, { dtype: output.dtype })]);
  return { output, grads: leaves.map(({ grad }) => grad as AnyTensor) };
}

/** One pass over the elements: the numbers of f32, rounded once. */
const elementwise: readonly (readonly [name: string, op: Op, shapes: readonly Shape[]])[] = [
  [
    'add',
    (a, b) => add(a, b),
    [
      [5, 33],
      [5, 33],
    ],
  ],
  [
    'add with broadcasting',
    (a, b) => add(a, b),
    [
      [5, 2, 33],
      [5, 1, 33],
    ],
  ],
  [
    'mul',
    (a, b) => mul(a, b),
    [
      [5, 33],
      [5, 33],
    ],
  ],
  ['mul by a number', (a) => mul(a, 0.3), [[5, 33]]],
  ['gelu', (x) => gelu(x), [[5, 33]]],
  ['sum', (x) => sum(x, 0), [[7, 33]]],
  ['biasAdd', (x, bias, residual) => biasAdd(x, bias, residual), [[5, 40], [40], [5, 40]]],
  ['biasGelu', (x, bias) => biasGelu(x, bias), [[5, 40], [40]]],
  ['biasSwiglu', (x, bias) => biasSwiglu(x, bias), [[5, 40], [40]]],
  ['biasGeglu', (x) => biasGeglu(x), [[5, 40]]],
  ['layerNorm', (x, weight, bias) => layerNorm(x, { weight, bias }), [[5, 40], [40], [40]]],
  ['rmsNorm', (x, weight) => rmsNorm(x, { weight }), [[5, 40], [40]]],
  ['linear', (x, weight, bias) => linear(x, weight, bias), [[3, 5, 40], [24, 40], [24]]],
  [
    'matmul',
    (a, b) => matmul(a, b),
    [
      [3, 9, 16],
      [16, 24],
    ],
  ],
];

describe('operations of bf16 tensors beside those of the same values in f32', () => {
  it.each(elementwise)('%s: result and gradients are those of f32, rounded once', (_, op, shapes) => {
    scope(() => {
      const [narrow, wide] = [run(op, shapes, 'bf16'), run(op, shapes, 'f32')];
      expect(narrow.output.dtype).toBe('bf16');
      // The order of sums may differ by dtype: a number at the middle between two of bf16 may then fall to the other side.
      const nearly = { steps: 1, floor: 2 ** -8 };
      expectRoundedOnce(values(narrow.output), values(wide.output), nearly);
      narrow.grads.forEach((grad, i) => {
        expect(grad.dtype).toBe('bf16');
        expectRoundedOnce(values(grad), values(wide.grads[i]), nearly);
      });
    });
  });

  it('embedding: rows are copied, and the gradient of the table is that of f32 rounded once', () => {
    scope(() => {
      const op: Op = (weight) => embedding(weight as Tensor, tokens([6, 2], 5));
      const [narrow, wide] = [run(op, [[5, 12]], 'bf16'), run(op, [[5, 12]], 'f32')];
      expectBitwise(values(narrow.output), values(wide.output));
      expectRoundedOnce(values(narrow.grads[0]), values(wide.grads[0]));
    });
  });

  it.each([
    [
      'addLayerNorm',
      (x: AnyTensor, residual: AnyTensor, weight: AnyTensor, bias: AnyTensor) => addLayerNorm(x, { residual, weight, bias }),
    ],
    ['addRmsNorm', (x: AnyTensor, residual: AnyTensor, weight: AnyTensor) => addRmsNorm(x, { residual, weight })],
  ] as const)('%s: the sum is rounded once, and the norm is that of the rounded sum', (name, op) => {
    scope(() => {
      const make = (dtype: DType) => [[5, 40], [5, 40], [40], [40]].map((shape, i) => tensor(wave(shape, i), shape, { dtype }));
      const [x, residual, weight, bias] = make('bf16') as [Tensor, Tensor, Tensor, Tensor];
      const { sum, normed } = op(x, residual, weight, bias);
      const [wideX, wideResidual, wideWeight, wideBias] = make('f32') as [Tensor, Tensor, Tensor, Tensor];
      const wideSum = add(wideX, wideResidual);
      expectRoundedOnce(values(sum), values(wideSum));
      const widened = sum.to('f32');
      const wideNormed =
        name === 'addRmsNorm' ? rmsNorm(widened, { weight: wideWeight }) : layerNorm(widened, { weight: wideWeight, bias: wideBias });
      expectRoundedOnce(values(normed), values(wideNormed), { steps: 1, floor: 2 ** -8 });
    });
  });

  it('norms take f32 weights beside a bf16 stream, with the bits of the same weights in bf16', () => {
    scope(() => {
      const x = tensor(wave([5, 40], 0), [5, 40], { dtype: 'bf16' });
      const [weight, bias] = [tensor(wave([40], 1)), tensor(wave([40], 2))];
      const narrow = layerNorm(x, { weight: weight.to('bf16'), bias: bias.to('bf16') });
      expectBitwise(values(layerNorm(x, { weight, bias })), values(narrow));
    });
  });

  it('attention: result and gradient stay within the rounding of probabilities and products to bf16', () => {
    scope(() => {
      const op: Op = (qkv) => selfAttention(qkv as Tensor, { numHeads: 2, causal: true });
      const [narrow, wide] = [run(op, [[37, 2, 96]], 'bf16'), run(op, [[37, 2, 96]], 'f32')];
      const because = 'probabilities and their gradients are rounded to bf16 before they are multiplied';
      expectRelativeL2(values(narrow.output), values(wide.output), { limit: 2 ** -7, because });
      expectRelativeL2(values(narrow.grads[0]), values(wide.grads[0]), { limit: 2 ** -6, because });
    });
  });

  it('cross entropy: losses are f32 with the bits of the widened logits, and the gradient is rounded once', () => {
    scope(() => {
      const op: Op = (logits) => crossEntropy(logits as Tensor, tokens([6], 17));
      const [narrow, wide] = [run(op, [[6, 17]], 'bf16'), run(op, [[6, 17]], 'f32')];
      expect(narrow.output.dtype).toBe('f32');
      expectBitwise(values(narrow.output), values(wide.output));
      expectRoundedOnce(values(narrow.grads[0]), values(wide.grads[0]));
    });
  });

  it('a head with its loss: logits are never rounded; gradients stay within the rounding of their factors', () => {
    scope(() => {
      const op: Op = (x, weight) =>
        shardedLinearCrossEntropy(x as AnyTensor, weight as AnyTensor, tokens([12], 17), {
          shards: { firstColumn: 0, vocabSize: 17, maximum: () => undefined, sum: () => undefined },
        });
      const shapes = [
        [12, 40],
        [17, 40],
      ];
      const [narrow, wide] = [run(op, shapes, 'bf16'), run(op, shapes, 'f32')];
      expect(narrow.output.dtype).toBe('f32');
      expectRelativeL2(values(narrow.output), values(wide.output), { limit: 1e-6, because: 'products are added in another order' });
      const because = 'the gradients of the logits are rounded to bf16 before they are multiplied';
      narrow.grads.forEach((grad, i) => expectRelativeL2(values(grad), values(wide.grads[i]), { limit: 2 ** -7, because }));
    });
  });
});

describe('bf16 products of f32 tensors', () => {
  const because = 'products are added in another order';
  const off = (size: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(0.7 * i + 1)); // more digits than bf16 holds

  it('linear: result and gradients are those of rounded operands, summed and stored in f32', () => {
    scope(() => {
      const leaves = (round: boolean) =>
        [
          [15, 40],
          [24, 40],
        ].map((shape) => {
          const own = off((shape[0] ?? 0) * (shape[1] ?? 0));
          return tensor(round ? rounded(own) : own, shape, { requiresGrad: true });
        }) as [Tensor, Tensor];
      const grad = tensor(wave([15, 24], 5), [15, 24]);
      const [own, exact] = [leaves(false), leaves(true)];
      const [y, expected] = [linear(...own, undefined, { computeDType: 'bf16' }), linear(...exact)];
      expect(y.dtype).toBe('f32');
      expectRelativeL2(values(y), values(expected), { limit: 1e-6, because });
      backward([y, expected], [grad, grad]);
      own.forEach((leaf, i) => expectRelativeL2(values(leaf.grad), values(exact[i]?.grad), { limit: 1e-6, because }));
    });
  });

  it('matmul and attention keep their results in f32, and differ from f32 products by their rounding alone', () => {
    scope(() => {
      const [a, qkv] = [tensor(off(30 * 40), [30, 40]), tensor(off(20 * 96), [20, 1, 96])];
      const rounding = { limit: 2 ** -7, because: 'operands are rounded to bf16' };
      const product = matmul(a, a.transpose(0, 1), { computeDType: 'bf16' });
      expectRelativeL2(values(product), values(matmul(a, a.transpose(0, 1))), rounding);
      expect(values(product)).not.toEqual(values(matmul(a, a.transpose(0, 1))));
      const [fast, exact] = (['bf16', 'f32'] as const).map((computeDType) =>
        selfAttention(qkv, { numHeads: 2, causal: true, computeDType }),
      );
      expectRelativeL2(values(fast), values(exact), rounding);
      expect(fast?.dtype).toBe('f32');
    });
  });

  it('an unknown compute dtype is refused', () => {
    const call = () => linear(tensor([1], [1, 1]), tensor([1], [1, 1]), undefined, { computeDType: 'f16' as never });
    expect(() => scope(call)).toThrow('linear: computeDType is "f16". Use "f32" or "bf16".');
  });
});

describe('a bf16 parameter', () => {
  const context = { seed: 5, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };
  const made = (dtype: DType) => {
    const parameter = new Parameter({ shape: [24, 40], dtype, init: { kind: 'normal', std: 0.3 } });
    parameter.initialize('weight', context);
    return parameter;
  };

  it('is drawn as in f32 and rounded once', () => {
    const [narrow, wide] = [made('bf16'), made('f32')];
    expectBitwise(values(narrow), rounded(values(wide)));
    narrow.dispose();
    wide.dispose();
  });

  it('sums its gradient in f32 over several backwards, whether an operation writes it or a tensor brings it', () => {
    const [narrow, exact] = [made('bf16'), made('f32')];
    scope(() => {
      for (const phase of [1, 2, 3])
        for (const weight of [narrow, exact]) {
          const { dtype } = weight;
          const x = tensor(wave([30, 40], phase), [30, 40], { dtype });
          backward([linear(x, weight)], [tensor(wave([30, 24], phase + 5), [30, 24], { dtype })]);
          backward([mul(weight, 1)], [tensor(wave([24, 40], phase), [24, 40], { dtype })]);
        }
      expect(narrow.grad?.dtype).toBe('f32');
      expectRelativeL2(values(narrow.grad), values(exact.grad), { limit: 1e-6, because: 'products are added in another order' });
    });
    narrow.dispose();
    exact.dispose();
  });
});
