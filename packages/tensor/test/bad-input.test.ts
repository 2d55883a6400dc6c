import { EngineError, ShapeError } from '@megatron-ts/errors';
import {
  type AnyTensor,
  axpy,
  backward,
  biasGelu,
  cat,
  copyInto,
  crossEntropy,
  embedding,
  empty,
  gather,
  geluErf,
  layerNorm,
  linear,
  matmul,
  memoryStats,
  mseLoss,
  Parameter,
  permute,
  scaleInPlace,
  scope,
  selfAttention,
  tensor,
  where,
  zeros,
} from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';
import { elementLayout } from '../src/ops/operands.ts';
import { layoutWords } from '../src/layout-words.ts';

const leaf = (...shape: number[]) => tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5), shape, { requiresGrad: true });
const whole = (...shape: number[]) => tensor(new Int32Array(shape.reduce((a, b) => a * b, 1)), shape);

describe('memory that is not there', () => {
  it.each([[[2 ** 40, 2 ** 10]], [[2 ** 23, 2 ** 23]], [[2 ** 52]]])(
    'is refused for %j, asked and available named, and the process goes on',
    (shape) => {
      const before = memoryStats().liveBytes;
      const bytes = shape.reduce((product, extent) => product * extent, 4);
      const sentence = new RegExp(
        `^empty: out of memory: ${bytes} bytes were asked for while (\\d+ are available and )?\\d+ are live\\. Use smaller`,
      );
      expect(() => empty(shape)).toThrow(
        expect.objectContaining({ name: 'EngineError', code: 'OUT_OF_MEMORY', message: expect.stringMatching(sentence) as string }),
      );
      expect(memoryStats().liveBytes).toBe(before);
      expect(scope(() => zeros([1000]).add(1).sum().item())).toBe(1000);
    },
  );

  it.skipIf(process.platform !== 'linux')('is refused before the system would promise more than it has', () => {
    const available = Number(/(\d+) are available/.exec(refusal(() => empty([2 ** 45])))?.[1]);
    expect(available).toBeGreaterThan(0);
    expect(refusal(() => empty([Math.ceil((available * 1.2) / 4)]))).toContain('out of memory');
  });

  it('is refused to an operation whose result is too large, and to its workspace', () => {
    scope(() => {
      const [column, row] = [empty([2 ** 22, 1]), empty([1, 2 ** 22])];
      expect(refusal(() => column.add(row))).toContain(`${2 ** 46} bytes were asked for`);
      expect(refusal(() => column.matmul(row))).toContain(`${2 ** 46} bytes were asked for`);
    });
  });
});

function refusal(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    if (error instanceof EngineError || error instanceof ShapeError) return error.message;
    throw error;
  }
  return '';
}

describe('shapes that no tensor has', () => {
  const shapes: [shape: number[], code: string, sentence: string][] = [
    [[2, -1], 'INVALID_EXTENT', 'extent -1 of dim 1 in shape [2, -1] is no whole number from 0 on. Give one.'],
    [[1.5], 'INVALID_EXTENT', 'extent 1.5 of dim 0 in shape [1.5] is no whole number from 0 on. Give one.'],
    [[Number.NaN], 'INVALID_EXTENT', 'extent NaN of dim 0 in shape [NaN] is no whole number from 0 on. Give one.'],
    [[3, Infinity], 'INVALID_EXTENT', 'extent Infinity of dim 1 in shape [3, Infinity] is no whole number from 0 on. Give one.'],
    [
      [2 ** 30, 2 ** 30],
      'TOO_LARGE',
      'shape [1073741824, 1073741824] has about 1.15e+18 elements, more than can be counted exactly (2^53 - 1). Use smaller extents.',
    ],
    [
      [2 ** 40, 2 ** 40, 2 ** 40],
      'TOO_LARGE',
      'shape [1099511627776, 1099511627776, 1099511627776] has about 1.33e+36 elements, more than can be counted exactly (2^53 - 1). Use smaller extents.',
    ],
  ];

  it.each(shapes)('%j are refused by whatever makes a tensor', (shape, code, sentence) => {
    const makers: [name: string, make: () => unknown][] = [
      ['filled', () => zeros(shape)],
      ['empty', () => empty(shape)],
      ['tensor', () => tensor([1, 2], shape)],
      ['expand', () => zeros([1]).expand(shape)],
      ['Parameter', () => new Parameter({ shape })],
    ];
    for (const [name, make] of makers)
      expect(make, name).toThrow(expect.objectContaining({ name: 'ShapeError', code, message: `${name}: ${sentence}` }));
  });

  it('do not slip through by a product of two negative extents', () => {
    expect(() => tensor([1, 2], [-1, -2])).toThrow('extent -1 of dim 0');
    expect(() => zeros([4]).reshape([-2, -2])).toThrow(ShapeError);
    expect(() => zeros([4]).reshape([-1, -1])).toThrow(ShapeError);
    expect(() => zeros([0]).reshape([0, -1])).toThrow(ShapeError);
    expect(() => zeros([4]).reshape([1.5, -1])).toThrow(ShapeError);
  });

  it('are refused as layouts whose numbers a view cannot say', () => {
    const sentence =
      'an extent, a stride or an offset of 4294967296 elements is beyond the 4294967295 that a view or a broadcast can have. Split the tensor.';
    expect(() => elementLayout('add', [2, 2 ** 32], [[2, 2 ** 32], [2 ** 32]])).toThrow(`add: ${sentence}`);
    expect(elementLayout('add', [2, 3], [[2, 3], [3]])).toEqual(Uint32Array.of(2, 2, 3, 3, 1, 0, 1));
    expect(() => layoutWords('slice', [2 ** 32])).toThrow(expect.objectContaining({ name: 'ShapeError', code: 'TOO_LARGE' }));
  });
});

type Run = readonly [name: string, run: (inputs: AnyTensor[]) => AnyTensor, inputs: readonly (() => AnyTensor)[], shape: readonly number[]];

const none = () => leaf(0, 3);
const elementwise: Run[] = (
  ['neg', 'exp', 'log', 'sqrt', 'tanh', 'sigmoid', 'abs', 'relu', 'gelu', 'silu', 'square', 'reciprocal'] as const
).map((name) => [name, ([x]) => (x as AnyTensor)[name](), [none], [0, 3]]);
const pairwise: Run[] = (['add', 'sub', 'mul', 'div', 'pow', 'maximum', 'minimum'] as const).flatMap((name) => [
  [name, ([a, b]) => (a as AnyTensor)[name](b as AnyTensor), [none, none], [0, 3]],
  [`${name}, broadcast`, ([a, b]) => (a as AnyTensor)[name](b as AnyTensor), [none, () => leaf(1, 3)], [0, 3]],
  [`${name} with a number`, ([a]) => (a as AnyTensor)[name](2), [none], [0, 3]],
]);
const compared: Run[] = (['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const).map((name) => [
  name,
  ([a, b]) => (a as AnyTensor)[name](b as AnyTensor),
  [none, none],
  [0, 3],
]);
const others: Run[] = [
  ['geluErf', ([x]) => geluErf(x as AnyTensor), [none], [0, 3]],
  ['sum over the empty dim', ([x]) => (x as AnyTensor).sum(0), [none], [3]],
  ['sum over the other', ([x]) => (x as AnyTensor).sum(1), [none], [0]],
  ['mean of nothing', ([x]) => (x as AnyTensor).mean(), [none], []],
  ['max over the other', ([x]) => (x as AnyTensor).max(1), [none], [0]],
  ['min over the other', ([x]) => (x as AnyTensor).min(1), [none], [0]],
  ['where', ([a, b]) => where((a as AnyTensor).gt(0), a as AnyTensor, b as AnyTensor), [none, none], [0, 3]],
  ['reshape', ([x]) => (x as AnyTensor).reshape([3, 0]), [none], [3, 0]],
  ['transpose', ([x]) => (x as AnyTensor).transpose(0, 1), [none], [3, 0]],
  ['permute', ([x]) => permute(x as AnyTensor, [1, 0]), [none], [3, 0]],
  ['slice to nothing', ([x]) => (x as AnyTensor).slice(0, 1, 1), [() => leaf(2, 3)], [0, 3]],
  ['expand', ([x]) => (x as AnyTensor).expand([2, 0, 3]), [none], [2, 0, 3]],
  ['expand to nothing', ([x]) => (x as AnyTensor).expand([0, 3]), [() => leaf(1, 3)], [0, 3]],
  ['cat', (parts) => cat(parts), [none, () => leaf(2, 3)], [2, 3]],
  ['gather', ([x]) => gather(x as AnyTensor, 0, whole(0, 3)), [() => leaf(2, 3)], [0, 3]],
  ['matmul of no rows', ([a, b]) => matmul(a as AnyTensor, b as AnyTensor), [none, () => leaf(3, 2)], [0, 2]],
  ['matmul over nothing', ([a, b]) => matmul(a as AnyTensor, b as AnyTensor), [() => leaf(2, 0), none], [2, 3]],
  ['matmul of no batches', ([a, b]) => matmul(a as AnyTensor, b as AnyTensor), [() => leaf(0, 2, 3), () => leaf(3, 2)], [0, 2, 2]],
  [
    'linear of no rows',
    ([x, w, b]) => linear(x as AnyTensor, w as AnyTensor, b as AnyTensor),
    [none, () => leaf(2, 3), () => leaf(2)],
    [0, 2],
  ],
  [
    'linear over nothing',
    ([x, w, b]) => linear(x as AnyTensor, w as AnyTensor, b as AnyTensor),
    [() => leaf(2, 0), () => leaf(3, 0), () => leaf(3)],
    [2, 3],
  ],
  ['biasGelu', ([x, b]) => biasGelu(x as AnyTensor, b as AnyTensor), [none, () => leaf(3)], [0, 3]],
  [
    'layerNorm',
    ([x, w, b]) => layerNorm(x as AnyTensor, { weight: w as AnyTensor, bias: b as AnyTensor }),
    [none, () => leaf(3), () => leaf(3)],
    [0, 3],
  ],
  ['embedding', ([w]) => embedding(w as AnyTensor, whole(0, 4)), [() => leaf(5, 3)], [0, 4, 3]],
  ['crossEntropy', ([x]) => crossEntropy(x as AnyTensor, whole(0)), [none], [0]],
  ['mseLoss', ([a, b]) => mseLoss(a as AnyTensor, b as AnyTensor), [none, none], []],
  [
    'selfAttention of no positions',
    ([x]) => selfAttention(x as AnyTensor, { numHeads: 2, causal: true }),
    [() => leaf(0, 2, 12)],
    [0, 2, 4],
  ],
  [
    'selfAttention of no samples',
    ([x]) => selfAttention(x as AnyTensor, { numHeads: 2, causal: false }),
    [() => leaf(3, 0, 12)],
    [3, 0, 4],
  ],
];

describe('tensors without elements', () => {
  it.each([...elementwise, ...pairwise, ...compared, ...others])('go through %s and its backward', (_, run, makers, shape) => {
    scope(() => {
      const inputs = makers.map((make) => make());
      const output = run(inputs);
      expect(output.shape).toEqual(shape);
      const values = Array.from(output.toArray() as ArrayLike<number>);
      expect(values).toHaveLength(shape.reduce((product, extent) => product * extent, 1));
      if (!output.requiresGrad) return;
      backward([output], [leaf(...shape).detach()]);
      for (const input of inputs) {
        expect(input.grad?.shape).toEqual(input.shape);
        const finite = Array.from(input.grad?.toArray() as ArrayLike<number>).every((value) => Number.isFinite(value));
        expect(finite).toBe(true);
      }
    });
  });

  it('sum to 0, have a mean of NaN and no largest', () => {
    scope(() => {
      const x = zeros([0, 3]);
      expect(Array.from(x.sum(0).toArray())).toEqual([0, 0, 0]);
      expect(x.mean().item()).toBeNaN();
      expect(() => x.max()).toThrow('Give at least one.');
      expect(() => x.min(0)).toThrow('Give at least one.');
      expect(Array.from(matmul(zeros([2, 0]), zeros([0, 3])).toArray())).toEqual([0, 0, 0, 0, 0, 0]);
    });
  });

  it('are copied, converted, scaled and added to in place', () => {
    scope(() => {
      const [a, b] = [zeros([0]), zeros([0])];
      copyInto(a, b);
      axpy(a, 2, b);
      scaleInPlace(a, 2);
      for (const dtype of ['bf16', 'f16', 'f64', 'i32', 'i64', 'u8'] as const) expect(a.to(dtype).numel).toBe(0);
      expect(() => (a as never as { item(): number }).item()).toThrow('item: the tensor has shape [0].');
      expect(String(a)).toContain('[0]');
    });
  });
});
