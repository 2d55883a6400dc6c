import {
  addRmsNorm,
  type AnyTensor,
  backward,
  biasAdd,
  biasGelu,
  cat,
  crossEntropy,
  embedding,
  engine,
  gather,
  layerNorm,
  linear,
  matmul,
  mseLoss,
  permute,
  scope,
  selfAttention,
  slice,
  tensor,
  where,
  zeros,
} from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';

const f = (...shape: number[]) => zeros(shape);
const h = (...shape: number[]) => zeros(shape, 'bf16');
const d = (...shape: number[]) => zeros(shape, 'f64');
const i = (...shape: number[]) => zeros(shape, 'i32');
const u = (...shape: number[]) => zeros(shape, 'u8');
const tokens = (...values: number[]) => tensor(Int32Array.from(values));

const shapeFaults: [name: string, run: () => unknown, code: string, sentence: string][] = [
  [
    'add',
    () => f(3).add(f(2)),
    'NOT_BROADCASTABLE',
    'add: shapes [3] and [2] differ in dim 0 (3 and 2). Make them equal, or one of them 1.',
  ],
  [
    'sub',
    () => f(2, 3).sub(f(3, 3)),
    'NOT_BROADCASTABLE',
    'sub: shapes [2, 3] and [3, 3] differ in dim 0 (2 and 3). Make them equal, or one of them 1.',
  ],
  [
    'mul',
    () => f(4, 1, 2).mul(f(3, 3)),
    'NOT_BROADCASTABLE',
    'mul: shapes [4, 1, 2] and [3, 3] differ in dim 2 (2 and 3). Make them equal, or one of them 1.',
  ],
  [
    'div',
    () => f(3).div(f(2)),
    'NOT_BROADCASTABLE',
    'div: shapes [3] and [2] differ in dim 0 (3 and 2). Make them equal, or one of them 1.',
  ],
  [
    'pow',
    () => f(3).pow(f(2)),
    'NOT_BROADCASTABLE',
    'pow: shapes [3] and [2] differ in dim 0 (3 and 2). Make them equal, or one of them 1.',
  ],
  [
    'maximum',
    () => f(3).maximum(f(2)),
    'NOT_BROADCASTABLE',
    'maximum: shapes [3] and [2] differ in dim 0 (3 and 2). Make them equal, or one of them 1.',
  ],
  [
    'minimum',
    () => f(3).minimum(f(2)),
    'NOT_BROADCASTABLE',
    'minimum: shapes [3] and [2] differ in dim 0 (3 and 2). Make them equal, or one of them 1.',
  ],
  ['lt', () => f(3).lt(f(2)), 'NOT_BROADCASTABLE', 'lt: shapes [3] and [2] differ in dim 0 (3 and 2). Make them equal, or one of them 1.'],
  [
    'where',
    () => where(u(2), f(3), f(1)),
    'NOT_BROADCASTABLE',
    'where: shapes [2] and [3] differ in dim 0 (2 and 3). Make them equal, or one of them 1.',
  ],
  ['sum', () => f(2, 3).sum(2), 'DIM_OUT_OF_RANGE', 'sum: dim 2 does not exist in shape [2, 3]. Use -2 to 1.'],
  ['sum of a dim twice', () => f(2, 3).sum([1, -1]), 'SHAPE_MISMATCH', 'sum: dims [1, -1] name a dim of [2, 3] twice. Name each once.'],
  ['mean', () => f().mean(0), 'DIM_OUT_OF_RANGE', 'mean: dim 0 does not exist in shape []. A scalar has no dims.'],
  ['max of nothing', () => f(0, 3).max(0), 'SHAPE_MISMATCH', 'max: shape [0, 3] has no elements to choose from. Give at least one.'],
  ['min of nothing', () => f(0).min(), 'SHAPE_MISMATCH', 'min: shape [0] has no elements to choose from. Give at least one.'],
  [
    'reshape',
    () => f(2, 3).reshape([4]),
    'SHAPE_MISMATCH',
    'reshape: [2, 3] has 6 elements and [4] asks for another number. Give extents whose product is 6, at most one of them -1.',
  ],
  [
    'reshape with two unknowns',
    () => f(2, 3).reshape([-1, -1]),
    'SHAPE_MISMATCH',
    'reshape: [2, 3] has 6 elements and [-1, -1] asks for another number.',
  ],
  [
    'permute',
    () => permute(f(2, 3), [0, 0]),
    'SHAPE_MISMATCH',
    'permute: order [0, 0] does not name each dim of [2, 3] once. Name each exactly once.',
  ],
  ['transpose', () => f(2, 3).transpose(0, 5), 'DIM_OUT_OF_RANGE', 'transpose: dim 5 does not exist in shape [2, 3]. Use -2 to 1.'],
  [
    'slice',
    () => slice(f(2, 3), 1, { start: 2, end: 4 }),
    'INDEX_OUT_OF_RANGE',
    'slice: 2 to 4 does not lie in dim 1 of [2, 3]. Use 0 <= start <= end <= 3.',
  ],
  ['slice of a fraction', () => f(4).slice(0, 0.5), 'INDEX_OUT_OF_RANGE', 'slice: 0.5 to 4 does not lie in dim 0 of [4].'],
  [
    'expand',
    () => f(2, 3).expand([4, 3]),
    'SHAPE_MISMATCH',
    'expand: [2, 3] cannot be repeated to [4, 3]. Only dims of extent 1 can grow.',
  ],
  [
    'cat',
    () => cat([f(2, 3), f(2, 4)]),
    'SHAPE_MISMATCH',
    'cat: f32[2, 4] beside f32[2, 3] along dim 0. All dims but 0, and the dtype, must agree.',
  ],
  ['cat of nothing', () => cat([]), 'SHAPE_MISMATCH', 'cat: no tensors. Give at least one.'],
  [
    'gather',
    () => gather(f(2, 3), 1, i(3, 3)),
    'SHAPE_MISMATCH',
    'gather: index [3, 3] must agree with [2, 3] in every dim but 1. Reshape or expand the index.',
  ],
  [
    'matmul',
    () => matmul(f(2, 3), f(4, 5)),
    'SHAPE_MISMATCH',
    'matmul: [2, 3] times [4, 5] has inner extents 3 and 4. Transpose or reshape one of them.',
  ],
  [
    'matmul of vectors',
    () => matmul(f(3), f(3)),
    'SHAPE_MISMATCH',
    'matmul: [3] times [3] needs two dims each. Reshape vectors to matrices.',
  ],
  [
    'matmul of batches',
    () => matmul(f(2, 3, 4), f(3, 4, 5)),
    'NOT_BROADCASTABLE',
    'matmul: shapes [2] and [3] differ in dim 0 (2 and 3). Make them equal, or one of them 1.',
  ],
  [
    'linear',
    () => linear(f(4, 3), f(5, 2)),
    'SHAPE_MISMATCH',
    "linear: x [4, 3] and weight [5, 2] do not fit. The last dim of x must be the weight's second.",
  ],
  [
    'linear bias',
    () => linear(f(4, 3), f(5, 3), f(3)),
    'SHAPE_MISMATCH',
    "linear: bias [3] and weight [5, 3] do not fit. The bias must have the weight's first extent.",
  ],
  [
    'layerNorm',
    () => layerNorm(f(4, 3), { weight: f(3), bias: f(4) }),
    'SHAPE_MISMATCH',
    'layerNorm: x [4, 3], weight [3] and bias [4] do not fit. Weight and bias need the last extent of x.',
  ],
  [
    'biasGelu',
    () => biasGelu(f(4, 3), f(2)),
    'SHAPE_MISMATCH',
    'biasGelu: x [4, 3] and bias [2] do not fit. The bias needs the last extent of x.',
  ],
  [
    'selfAttention',
    () => selfAttention(f(4, 2, 10), { numHeads: 2, causal: true }),
    'SHAPE_MISMATCH',
    'selfAttention: qkv [4, 2, 10] is not [s, b, 3 · 2 heads · d]. The last extent must be a multiple of 6.',
  ],
  [
    'selfAttention of two dims',
    () => selfAttention(f(4, 6), { numHeads: 1, causal: true }),
    'SHAPE_MISMATCH',
    'selfAttention: qkv [4, 6] is not [s, b, 3 · 1 heads · d].',
  ],
  ['embedding', () => embedding(f(5), i(2)), 'SHAPE_MISMATCH', 'embedding: weight [5] is not [vocab, h]. Give a table of two dims.'],
  [
    'crossEntropy',
    () => crossEntropy(f(4, 3), i(3)),
    'SHAPE_MISMATCH',
    'crossEntropy: targets [3] and logits [4, 3] do not fit. The targets need the shape of the logits without the last dim.',
  ],
  ['mseLoss', () => mseLoss(f(4), f(3)), 'SHAPE_MISMATCH', 'mseLoss: prediction [4] and target [3] differ. Give both the same shape.'],
  [
    'tensor',
    () => tensor([1, 2, 3], [2, 2]),
    'DATA_LENGTH',
    'tensor: 3 values for shape [2, 2] of 4. Give as many values as the shape has.',
  ],
  ['item', () => f(2).item(), 'NOT_A_SCALAR', 'item: the tensor has shape [2]. Reduce it to one number, or use toArray().'],
  ['backward', () => f(2).backward(), 'NOT_A_SCALAR', 'backward: the tensor has shape [2].'],
];

const dtypeFaults: [name: string, run: () => unknown, code: string, sentence: string][] = [
  ['add', () => f(3).add(d(3)), 'DTYPE_MISMATCH', "add: operands are f32[3] and f64[3]. Convert one of them with to('f32')."],
  ['mul', () => i(3).mul(f(3)), 'DTYPE_MISMATCH', "mul: operands are i32[3] and f32[3]. Convert one of them with to('f32')."],
  ['eq', () => i(3).eq(u(3)), 'DTYPE_MISMATCH', 'eq: operands are i32[3] and u8[3].'],
  ['where', () => where(f(3), f(3), f(3)), 'UNSUPPORTED_DTYPE', "where: condition is f32[3], not u8. Convert it with to('u8')."],
  [
    'where of two dtypes',
    () => where(u(3), f(3), d(3)),
    'DTYPE_MISMATCH',
    "where: operands are f32[3] and f64[3]. Convert one of them with to('f32').",
  ],
  ['exp', () => i(3).exp(), 'UNSUPPORTED_DTYPE', "exp: x is i32[3], not f32 or f64 or bf16. Convert it with to('f32')."],
  ['sum', () => i(3).sum(), 'UNSUPPORTED_DTYPE', "sum: x is i32[3], not f32 or f64 or bf16. Convert it with to('f32')."],
  [
    'add of f16',
    () => zeros([3], 'f16').add(zeros([3], 'f16')),
    'UNSUPPORTED_DTYPE',
    "add: a is f16[3], not f32 or f64 or bf16 or i32 or i64. Convert it with to('f32').",
  ],
  ['div of integers', () => i(3).div(i(3)), 'UNSUPPORTED_DTYPE', "div: a is i32[3], not f32 or f64 or bf16. Convert it with to('f32')."],
  ['pow of integers', () => i(3).pow(2), 'UNSUPPORTED_DTYPE', "pow: a is i32[3], not f32 or f64 or bf16. Convert it with to('f32')."],
  ['cat', () => cat([f(3), i(3)]), 'SHAPE_MISMATCH', 'cat: i32[3] beside f32[3] along dim 0.'],
  ['gather', () => gather(f(3), 0, f(3)), 'UNSUPPORTED_DTYPE', "gather: index is f32[3], not i32. Convert it with to('i32')."],
  ['matmul', () => matmul(d(2, 2), d(2, 2)), 'UNSUPPORTED_DTYPE', "matmul: a is f64[2, 2], not f32 or bf16. Convert it with to('f32')."],
  ['matmul of two', () => matmul(f(2, 2), d(2, 2)), 'UNSUPPORTED_DTYPE', 'matmul: b is f64[2, 2], not f32 or bf16.'],
  ['linear', () => linear(d(2, 2), f(2, 2)), 'UNSUPPORTED_DTYPE', 'linear: x is f64[2, 2], not f32 or bf16.'],
  ['linear bias', () => linear(f(2, 2), f(2, 2), d(2)), 'UNSUPPORTED_DTYPE', 'linear: bias is f64[2], not f32 or bf16.'],
  ['layerNorm', () => layerNorm(d(2, 2), { weight: f(2), bias: f(2) }), 'UNSUPPORTED_DTYPE', 'layerNorm: x is f64[2, 2], not f32 or bf16.'],
  [
    'layerNorm weight',
    () => layerNorm(f(2, 2), { weight: d(2), bias: f(2) }),
    'UNSUPPORTED_DTYPE',
    'layerNorm: weight is f64[2], not f32 or bf16.',
  ],
  ['biasGelu', () => biasGelu(f(2, 2), d(2)), 'UNSUPPORTED_DTYPE', 'biasGelu: bias is f64[2], not f32 or bf16.'],
  [
    'selfAttention',
    () => selfAttention(d(2, 2, 3), { numHeads: 1, causal: true }),
    'UNSUPPORTED_DTYPE',
    'selfAttention: qkv is f64[2, 2, 3], not f32 or bf16.',
  ],
  ['embedding', () => embedding(f(2, 2), f(2)), 'UNSUPPORTED_DTYPE', "embedding: tokens is f32[2], not i32. Convert it with to('i32')."],
  ['crossEntropy', () => crossEntropy(f(2, 2), f(2)), 'UNSUPPORTED_DTYPE', 'crossEntropy: targets is f32[2], not i32.'],
  ['add of two', () => f(3).add(h(3)), 'DTYPE_MISMATCH', "add: operands are f32[3] and bf16[3]. Convert one of them with to('f32')."],
  ['matmul of bf16 and f32', () => matmul(h(2, 2), f(2, 2)), 'DTYPE_MISMATCH', 'matmul: a is bf16[2, 2] and b is f32[2, 2].'],
  [
    'biasAdd',
    () => biasAdd(f(2, 2), f(2), h(2, 2)),
    'DTYPE_MISMATCH',
    "biasAdd: x is f32[2, 2] and residual is bf16[2, 2]. Convert one of them with to('f32').",
  ],
  [
    'addRmsNorm',
    () => addRmsNorm(h(2, 2), { weight: f(2), residual: f(2, 2) }),
    'DTYPE_MISMATCH',
    "rmsNorm: x is bf16[2, 2] and residual is f32[2, 2]. Convert one of them with to('bf16').",
  ],
  [
    'backward',
    () => backward([tensor([1, 2], [2], { requiresGrad: true }).mul(2)], [h(2)]),
    'DTYPE_MISMATCH',
    "backward: a gradient of bf16[2] for a tensor of f32. Convert the gradient with to('f32').",
  ],
  ['mseLoss', () => mseLoss(f(2), d(2)), 'DTYPE_MISMATCH', 'mseLoss: prediction is f32 and target is f64. Convert one of them with to().'],
  [
    'requiresGrad',
    () => tensor(Int32Array.of(1), [1], { requiresGrad: true }),
    'UNSUPPORTED_DTYPE',
    "tensor: requiresGrad for i32[1]. Gradients exist for floating types only; give dtype: 'f32'.",
  ],
];

function thrown(run: () => unknown): Error & { code?: string } {
  return scope(() => {
    try {
      run();
    } catch (error) {
      return error as Error;
    }
    throw new Error('nothing was thrown');
  });
}

describe('a wrong shape', () => {
  it.each(shapeFaults)('in %s is one sentence with the values and the remedy', (_, run, code, sentence) => {
    const error = thrown(run);
    expect(error.message).toContain(sentence);
    expect(error).toMatchObject({ name: 'ShapeError', code });
  });
});

describe('a wrong dtype', () => {
  it.each(dtypeFaults)('in %s is one sentence with the values and the remedy', (_, run, code, sentence) => {
    const error = thrown(run);
    expect(error.message).toContain(sentence);
    expect(error).toMatchObject({ code });
  });
});

describe('a wrong value', () => {
  const valueFaults: [name: string, run: () => unknown, words: RegExp][] = [
    ['a token outside the table', () => embedding(f(5, 2), tokens(0, 7)), /7.*5/],
    ['a negative token', () => embedding(f(5, 2), tokens(-1)), /-1.*5/],
    ['an index outside', () => gather(f(3), 0, tokens(0, 3)), /3/],
  ];
  it.each(valueFaults)('%s is named by the engine', (_, run, words) => {
    const error = thrown(run);
    expect(error).toMatchObject({ name: 'EngineError', code: 'ENGINE_REFUSED' });
    expect(error.message).toMatch(words);
    expect(error.message).toMatch(/\. [A-Z].*\.$/);
  });

  it('a target outside the vocabulary is named, not taken for one of another shard', () => {
    const error = thrown(() => crossEntropy(f(2, 3), tokens(0, 3)));
    expect(error.message).toBe('crossEntropy: target 3 at position 1 is not in a vocabulary of 3. Use 0 to 2.');
    expect(error).toMatchObject({ name: 'ShapeError', code: 'INDEX_OUT_OF_RANGE' });
  });

  it('a foreign handle is refused, not followed', () => {
    scope(() => {
      const x: AnyTensor = zeros([1]);
      const stale = x.handle;
      x.dispose();
      for (let n = 0; n < 64; n++) zeros([1]).dispose(); // send the releases
      expect(() => engine.item(stale)).toThrow(expect.objectContaining({ name: 'EngineError' }));
      expect(() => engine.unary(1, 123_456)).toThrow(/not live/);
    });
  });
});
