import {
  abs,
  add,
  addLayerNorm,
  addRmsNorm,
  type AnyTensor,
  type AttentionOptions,
  biasAdd,
  biasGeglu,
  biasGelu,
  biasSwiglu,
  cat,
  crossAttention,
  crossEntropy,
  type CrossEntropyOptions,
  div,
  type DType,
  embedding,
  eq,
  exp,
  expand,
  gather,
  ge,
  gelu,
  geluErf,
  gt,
  layerNorm,
  le,
  linear,
  log,
  lt,
  matmul,
  max,
  maximum,
  mean,
  min,
  minimum,
  mseLoss,
  mul,
  ne,
  neg,
  permute,
  pow,
  reciprocal,
  relu,
  reshape,
  rmsNorm,
  rotaryEmbedding,
  selfAttention,
  shardedLinearCrossEntropy,
  sigmoid,
  silu,
  slice,
  sqrt,
  square,
  sub,
  sum,
  tanh,
  tensor,
  to,
  transpose,
  where,
} from '@megatron-ts/tensor';
import type { GoldenCase, GoldenInput } from './read-golden.ts';

type Args = Readonly<Record<string, unknown>>;
type Run = (inputs: readonly AnyTensor[], args: Args) => AnyTensor;

const unary = { abs, exp, gelu, geluErf, log, neg, reciprocal, relu, sigmoid, silu, sqrt, square, tanh };
const binary = { add, div, maximum, minimum, mul, pow, sub, eq, ge, gt, le, lt, ne };
const reduce = { max, mean, min, sum };

/** A binary operation's second operand is a tensor, or a number among the arguments. */
const withScalar =
  (f: (a: AnyTensor, b: AnyTensor | number) => AnyTensor): Run =>
  ([a, b], { scalar }) =>
    f(a as AnyTensor, b ?? (scalar as number));

const named = (ops: Record<string, unknown>, wrap: (f: never) => Run): Record<string, Run> =>
  Object.fromEntries(Object.entries(ops).map(([name, f]) => [name, wrap(f as never)]));

const numbers = (value: unknown): number[] => value as number[];

/** The two results of a norm of a sum, one after the other. */
const both = ({ sum, normed }: { readonly sum: AnyTensor; readonly normed: AnyTensor }): AnyTensor => cat([sum, normed]);

/** The angles of RoFormer for 20 positions. */
const angles = (rotaryDim: number): AnyTensor => {
  const row = (position: number): number[] => {
    const turns = Array.from({ length: rotaryDim / 2 }, (_, i) => position * 10_000 ** ((-2 * i) / rotaryDim));
    return [...turns.map(Math.cos), ...turns.map(Math.sin)];
  };
  return tensor(Float32Array.from(Array.from({ length: 20 }, (_, position) => row(position)).flat()), [20, rotaryDim]);
};

/** Options of an attention; those `named` whose argument is true are the tensors of `rest`, in turn. */
const attentionOptions = (args: Args, rest: readonly AnyTensor[], named: readonly string[]): AttentionOptions => {
  const { numHeads, numKeyValueHeads, scale } = args;
  return {
    numHeads: numHeads as number,
    numKeyValueHeads: numKeyValueHeads as number | undefined,
    scale: (scale ?? undefined) as number | undefined,
    ...Object.fromEntries(named.filter((name) => args[name] === true).map((name, index) => [name, rest[index]])),
  };
};

/** Each operation as the goldens call it. */
const runs: Record<string, Run> = {
  ...named(
    unary,
    (f: (x: AnyTensor) => AnyTensor): Run =>
      ([x]) =>
        f(x as AnyTensor),
  ),
  ...named(binary, withScalar),
  ...named(
    reduce,
    (f: typeof sum): Run =>
      ([x], { dims, keepDims }) =>
        f(x as AnyTensor, (dims ?? undefined) as number[] | undefined, { keepDims: keepDims === true }),
  ),
  where: ([condition, a, b]) => where(condition as AnyTensor, a as AnyTensor, b as AnyTensor),
  reshape: ([x], { shape }) => reshape(x as AnyTensor, numbers(shape)),
  permute: ([x], { order }) => permute(x as AnyTensor, numbers(order)),
  transpose: ([x], { dims }) => transpose(x as AnyTensor, numbers(dims)[0] ?? 0, numbers(dims)[1] ?? 0),
  slice: ([x], { dim, start, end }) => slice(x as AnyTensor, dim as number, { start: start as number, end: end as number }),
  expand: ([x], { shape }) => expand(x as AnyTensor, numbers(shape)),
  cat: (inputs, { dim }) => cat(inputs, dim as number),
  gather: ([x, index], { dim }) => gather(x as AnyTensor, dim as number, index as AnyTensor),
  matmul: ([a, b]) => matmul(a as AnyTensor, b as AnyTensor),
  linear: ([x, weight, bias]) => linear(x as AnyTensor, weight as AnyTensor, bias as AnyTensor),
  selfAttention: ([qkv, ...rest], { causal, window, ...args }) => {
    const options = { ...attentionOptions(args, rest, ['segments', 'bias']), causal: causal === true };
    return selfAttention(qkv as AnyTensor, { ...options, window: (window ?? undefined) as number | undefined });
  },
  crossAttention: ([q, kv, ...rest], args) =>
    crossAttention(q as AnyTensor, kv as AnyTensor, attentionOptions(args, rest, ['querySegments', 'keySegments', 'bias'])),
  rotaryEmbedding: ([qkv, positions], { numHeads, numKeyValueHeads, headDim, rotaryDim, interleaved }) =>
    rotaryEmbedding(qkv as AnyTensor, {
      table: angles(rotaryDim as number),
      numHeads: numHeads as number,
      numKeyValueHeads: numKeyValueHeads as number,
      headDim: headDim as number,
      interleaved: interleaved === true,
      positions,
    }),
  biasAdd: ([x, bias, residual]) => biasAdd(x as AnyTensor, bias, residual),
  biasGeglu: ([x, bias]) => biasGeglu(x as AnyTensor, bias),
  biasSwiglu: ([x, bias]) => biasSwiglu(x as AnyTensor, bias),
  biasGelu: ([x, bias]) => biasGelu(x as AnyTensor, bias as AnyTensor),
  layerNorm: ([x, weight, bias], { eps }) =>
    layerNorm(x as AnyTensor, { weight: weight as AnyTensor, bias: bias as AnyTensor, eps: eps as number }),
  rmsNorm: ([x, weight], { eps }) => rmsNorm(x as AnyTensor, { weight: weight as AnyTensor, eps: eps as number }),
  addLayerNorm: ([x, residual, weight, bias, addedBias], { eps }) => {
    const vectors = { weight: weight as AnyTensor, bias: bias as AnyTensor, addedBias };
    return both(addLayerNorm(x as AnyTensor, { residual: residual as AnyTensor, ...vectors, eps: eps as number }));
  },
  addRmsNorm: ([x, residual, weight], { eps }) =>
    both(addRmsNorm(x as AnyTensor, { residual: residual as AnyTensor, weight: weight as AnyTensor, eps: eps as number })),
  shardedLinearCrossEntropy: ([x, weight, targets], args) =>
    shardedLinearCrossEntropy(x as AnyTensor, weight as AnyTensor, targets as AnyTensor, {
      shards: { firstColumn: 0, vocabSize: weight?.shape[0] ?? 0, maximum: () => undefined, sum: () => undefined },
      ...(args as CrossEntropyOptions),
    }),
  embedding: ([weight, tokens]) => embedding(weight as AnyTensor, tokens as AnyTensor),
  crossEntropy: ([logits, targets], args) => crossEntropy(logits as AnyTensor, targets as AnyTensor, args as CrossEntropyOptions),
  mseLoss: ([a, b]) => mseLoss(a as AnyTensor, b as AnyTensor),
  to: ([x], { dtype }) => to(x as AnyTensor, dtype as DType),
};

/** Names of all operations that have a case. */
export const testedOps: ReadonlySet<string> = new Set(Object.keys(runs));

/** Runs the operation of a case on `inputs`. */
export function runCase({ op, args }: GoldenCase, inputs: readonly AnyTensor[]): AnyTensor {
  const run = runs[op];
  if (run === undefined) throw new Error(`no operation ${op} in the table`);
  return run(inputs, args);
}

const arrays = { f32: Float32Array, bf16: Float32Array, i32: Int32Array, u8: Uint8Array };

/** An input of a case as a tensor; floating ones are leaves. */
export function inputOf({ dtype, shape, data }: GoldenInput, wide = false): AnyTensor {
  if (dtype === 'f32' && wide) return tensor(Float64Array.from(data), shape, { requiresGrad: true });
  return tensor(arrays[dtype].from(data), shape, { dtype, requiresGrad: dtype === 'f32' || dtype === 'bf16' });
}
