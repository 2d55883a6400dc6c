import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { add, type AnyTensor, backward, gelu, layerNorm, linear, matmul, mul } from '@megatron-ts/tensor';
import { permute, reshape, scope, slice, sub, sum, tensor, where } from '@megatron-ts/tensor';
import { expectRelativeL2 } from '@megatron-ts/testing';
import { describedPlace, type LayerNorm, ParallelAttention, ParallelMLP, type RMSNorm, TransformerLayer } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { numbers } from '../../tensor-parallel/test/ranks/observe.ts';

let ctx: ParallelContext;

beforeAll(async () => {
  ctx = await initializeModelParallel();
});
afterAll(() => ctx.destroy());

const [seq, batch, hidden, heads] = [5, 2, 12, 3];
const because = 'fused kernels round in another order';

/** A linear layer of this rank. */
function project(x: AnyTensor, { weight, bias }: { weight: AnyTensor; bias: AnyTensor | undefined }): AnyTensor {
  return linear(x, weight, bias);
}

function norm(x: AnyTensor, of: LayerNorm | RMSNorm): AnyTensor {
  const { weight, bias } = of as LayerNorm;
  return layerNorm(x, { weight, bias });
}

/** Attention in its textbook form, of operations that are differentiated one by one. */
function plainAttention({ qkv, projection }: ParallelAttention, x: AnyTensor, causal: boolean): AnyTensor {
  const all = project(x, qkv); // [s, b, 3h]
  const headsOf = (part: number) => {
    const own = slice(all, -1, { start: part * hidden, end: (part + 1) * hidden }); // [s, b, h]
    return permute(reshape(own, [seq, batch, heads, hidden / heads]), [1, 2, 0, 3]); // [b, a, s, d]
  };
  const scores = mul(matmul(headsOf(0), permute(headsOf(1), [0, 1, 3, 2])), 1 / Math.sqrt(hidden / heads)); // [b, a, s, s]
  const seen = tensor(
    Uint8Array.from({ length: seq * seq }, (_, i) => (!causal || i % seq <= Math.floor(i / seq) ? 1 : 0)),
    [seq, seq],
  );
  const masked: AnyTensor = where(seen, scores, tensor([-1e30], []));
  const exps = sub(masked, masked.max(-1, { keepDims: true }).detach()).exp();
  const probabilities = exps.div(sum(exps, -1, { keepDims: true }));
  const context = reshape(permute(matmul(probabilities, headsOf(2)), [2, 0, 1, 3]), [seq, batch, hidden]); // [s, b, h]
  return project(context, projection);
}

function plainLayer(layer: TransformerLayer, x: AnyTensor): AnyTensor {
  const { attentionNorm, attention, mlpNorm, mlp } = layer;
  const attended = add(x, plainAttention(attention, norm(x, attentionNorm), true)); // [s, b, h]
  const wide = gelu(project(norm(attended, mlpNorm), mlp.up)); // [s, b, 4h]
  return add(attended, project(wide, mlp.down));
}

/** Output, gradient of the input and gradients of all weights. */
function everything(layer: TransformerLayer | ParallelAttention, f: (x: AnyTensor) => AnyTensor): Float32Array[] {
  layer.zeroGrad();
  return scope(() => {
    const x = tensor(numbers(seq * batch * hidden), [seq, batch, hidden], { requiresGrad: true });
    const y = f(x);
    backward([y], [tensor(numbers(y.numel, 2), y.shape)]);
    return [y, x.grad, ...layer.parameters().map(({ grad }) => grad)].map((value) => (value as AnyTensor).toArray() as Float32Array);
  });
}

function expectAllClose(actual: readonly Float32Array[], expected: readonly Float32Array[]): void {
  expect(actual.length).toBe(expected.length);
  // The gradient of the keys' bias is zero in exact arithmetic, hence an absolute floor through the norm of all tensors.
  const whole = (list: readonly Float32Array[]) => Float32Array.from(list.flatMap((values) => [...values]));
  expectRelativeL2(whole(actual), whole(expected), { limit: 2e-6, because });
}

describe('one rank', () => {
  it('a layer is its textbook form, forward and backward', () => {
    const sizes = { hiddenSize: hidden, numAttentionHeads: heads, tpGroup: ctx.tp };
    const layer = new TransformerLayer({ ...sizes, init: { kind: 'normal', std: 0.3 } }).initialize(ctx);
    expectAllClose(
      everything(layer, (x) => layer.call(x)),
      everything(layer, (x) => plainLayer(layer, x)),
    );
  });

  it('attention without the causal mask sees all tokens', () => {
    const sizes = { hiddenSize: hidden, numAttentionHeads: heads, tpGroup: ctx.tp };
    const attention = new ParallelAttention({ ...sizes, causal: false }).initialize(ctx);
    expectAllClose(
      everything(attention, (x) => attention.call(x)),
      everything(attention, (x) => plainAttention(attention, x, false)),
    );
  });

  it('layers without biases have two weights less each', () => {
    const mlp = new ParallelMLP({ hiddenSize: 4, bias: false, tpGroup: ctx.tp }).initialize(ctx);
    expect([...mlp.namedParameters().keys()]).toEqual(['up.weight', 'down.weight']);
    expect(scope(() => mlp.call(tensor([1, 2, 3, 4], [1, 1, 4])).shape)).toEqual([1, 1, 4]);
  });

  it('heads that do not divide are refused with the remedy', () => {
    const build = (numAttentionHeads: number) => new ParallelAttention({ hiddenSize: 12, numAttentionHeads, tpGroup: ctx.tp });
    expect(() => build(5)).toThrow('hiddenSize 12 is not divisible by numAttentionHeads 5. Use hiddenSize 15, or another number of heads.');
  });

  it('keys and values that do not divide heads or ranks are refused with the remedy', () => {
    const build = (numKeyValueHeads: number, tensorModelParallelSize: number) =>
      new ParallelAttention({
        hiddenSize: 24,
        numAttentionHeads: 12,
        numKeyValueHeads,
        tpGroup: describedPlace({ tensorModelParallelSize }).tp,
      });
    expect(() => build(5, 1)).toThrow('numAttentionHeads 12 is not divisible by numKeyValueHeads 5. Use a divisor of 12.');
    expect(() => build(3, 2)).toThrow(
      'numKeyValueHeads 3 and tensorModelParallelSize 2 do not divide each other. Use 2 keys and values or',
    );
    expect(() => build(0, 1)).toThrow('ParallelAttention: numKeyValueHeads is 0. Use a whole number of at least 1.');
    expect(() => build(12, 5)).toThrow('ParallelAttention: numAttentionHeads 12 is not divisible by tensorModelParallelSize 5.');
    expect(build(3, 6).qkv.weight.shape).toEqual([4 + 2 + 2, 24]);
  });
});
