import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { add, type AnyTensor, backward, gelu, layerNorm, linear, matmul, mul, permute, philoxKey } from '@megatron-ts/tensor';
import { reshape, scope, slice, sub, sum, tensor, where } from '@megatron-ts/tensor';
import { expectBitwise, expectClose, expectRelativeL2, runRanks } from '@megatron-ts/testing';
import { GPTModel, type LayerNorm, ParallelAttention, TransformerLayer } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { factorTwin } from '../../tensor/test/dropout-twin.ts';
import { numbers } from '../../tensor-parallel/test/ranks/observe.ts';
import { wholeTensors } from '../../tensor-parallel/test/whole-tensors.ts';
import type { DroppedSteps, OwnLoop } from './ranks/dropout.ts';

let ctx: ParallelContext;
let ranks: DroppedSteps[];

beforeAll(async () => {
  ctx = await initializeModelParallel({ seed: 5 });
  ranks = await runRanks<DroppedSteps>(4, new URL('ranks/dropout.ts', import.meta.url), 'droppedSteps');
});
afterAll(() => ctx.destroy());

const close = { limit: 2e-6, because: 'tensor parallelism adds the products in another order' };
const [seq, batch, hidden, heads] = [5, 2, 12, 3];
const [hiddenDropout, attentionDropout, step] = [0.3, 0.25, 4];

/** Factors of what is added to the residual stream, drawn one by one. */
function hiddenFactors(site: string): AnyTensor {
  const key = philoxKey(5, `TransformerLayer ${site} at step ${step}`);
  const drawn = Float32Array.from({ length: seq * batch * hidden }, (_, i) => {
    const [element, sample, row] = [i % hidden, Math.floor(i / hidden) % batch, Math.floor(i / hidden / batch)];
    return factorTwin(hiddenDropout, key, { element, row, sample });
  });
  return tensor(drawn, [seq, batch, hidden]);
}

/** Factors of the probabilities `[b, a, s, s]`, drawn one by one. */
function attentionFactors(): AnyTensor {
  const key = philoxKey(5, `attention  at step ${step}`);
  const drawn = Float32Array.from({ length: batch * heads * seq * seq }, (_, i) => {
    const [element, row, head] = [i % seq, Math.floor(i / seq) % seq, Math.floor(i / seq / seq) % heads];
    return factorTwin(attentionDropout, key, { element, row, head, sample: Math.floor(i / seq / seq / heads) });
  });
  return tensor(drawn, [batch, heads, seq, seq]);
}

function norm(x: AnyTensor, of: unknown): AnyTensor {
  const { weight, bias } = of as LayerNorm;
  return layerNorm(x, { weight, bias });
}

function project(x: AnyTensor, { weight, bias }: { readonly weight: AnyTensor; readonly bias: AnyTensor | undefined }): AnyTensor {
  return linear(x, weight, bias);
}

/** Attention in its textbook form, with the factors applied to the probabilities. */
function plainAttention({ qkv, projection }: ParallelAttention, x: AnyTensor): AnyTensor {
  const all = project(x, qkv); // [s, b, 3h]
  const headsOf = (part: number) => {
    const own = slice(all, -1, { start: part * hidden, end: (part + 1) * hidden }); // [s, b, h]
    return permute(reshape(own, [seq, batch, heads, hidden / heads]), [1, 2, 0, 3]); // [b, a, s, d]
  };
  const scores = mul(matmul(headsOf(0), permute(headsOf(1), [0, 1, 3, 2])), 1 / Math.sqrt(hidden / heads)); // [b, a, s, s]
  const seen = tensor(
    Uint8Array.from({ length: seq * seq }, (_, i) => (i % seq <= Math.floor(i / seq) ? 1 : 0)),
    [seq, seq],
  );
  const masked: AnyTensor = where(seen, scores, tensor([-1e30], []));
  const exps = sub(masked, masked.max(-1, { keepDims: true }).detach()).exp();
  const probabilities = mul(exps.div(sum(exps, -1, { keepDims: true })), attentionFactors());
  const context = reshape(permute(matmul(probabilities, headsOf(2)), [2, 0, 1, 3]), [seq, batch, hidden]); // [s, b, h]
  return project(context, projection);
}

function plainLayer({ attentionNorm, attention, mlpNorm, mlp }: TransformerLayer, x: AnyTensor): AnyTensor {
  const attended = add(x, mul(plainAttention(attention, norm(x, attentionNorm)), hiddenFactors('attention'))); // [s, b, h]
  const wide = gelu(project(norm(attended, mlpNorm), mlp.up)); // [s, b, 4h]
  return add(attended, mul(project(wide, mlp.down), hiddenFactors('mlp')));
}

/** Output, gradient of the input and gradients of all weights, one after another. */
function everything(layer: TransformerLayer, f: (x: AnyTensor) => AnyTensor): Float32Array {
  layer.zeroGrad();
  return ctx.step(step, () => {
    const x = tensor(numbers(seq * batch * hidden), [seq, batch, hidden], { requiresGrad: true });
    const y = f(x);
    backward([y], [tensor(numbers(y.numel, 2), y.shape)]);
    const all = [y, x.grad, ...layer.parameters().map(({ grad }) => grad)].map((value) => (value as AnyTensor).toArray() as Float32Array);
    return Float32Array.from(all.flatMap((values) => [...values]));
  });
}

describe('a layer with dropout', () => {
  it('is its textbook form with the factors applied by hand, forward and backward', () => {
    const sizes = { hiddenSize: hidden, numAttentionHeads: heads, tpGroup: ctx.tp, hiddenDropout, attentionDropout };
    const layer = new TransformerLayer({ ...sizes, init: { kind: 'normal', std: 0.3 } }).initialize(ctx);
    const [fused, plain] = [everything(layer, (x) => layer.call(x)), everything(layer, (x) => plainLayer(layer, x))];
    expectRelativeL2(fused, plain, { limit: 2e-6, because: 'fused kernels round in another order' });
    layer.dispose();
  });

  it('refuses shares that make no sense, and a forward outside of a step', () => {
    const sizes = { hiddenSize: hidden, numAttentionHeads: heads, tpGroup: ctx.tp };
    expect(() => new TransformerLayer({ ...sizes, hiddenDropout: 1 })).toThrow(
      'TransformerLayer: hiddenDropout is 1. Use a number from 0 to below 1.',
    );
    expect(() => new ParallelAttention({ ...sizes, attentionDropout: -0.1 })).toThrow('ParallelAttention: attentionDropout is -0.1. Use');
    const model = { ctx, vocabSize: 4, maxSequenceLength: 4, hiddenSize: 4, numLayers: 1, numAttentionHeads: 1 };
    expect(() => new GPTModel({ ...model, hiddenDropout: Number.NaN })).toThrow('GPTModel: hiddenDropout is NaN. Use a number from 0');
    const layer = new TransformerLayer({ ...sizes, attentionDropout: 0.1 }).initialize(ctx);
    const x = () => tensor(numbers(hidden), [1, 1, hidden]);
    expect(() => scope(() => layer.call(x()))).toThrow(
      'attention: selfAttention: what is dropped is drawn from the seed and the number of',
    );
    layer.dispose();
  });
});

describe('a GPT model with dropout on four ranks', () => {
  it.each(['tp 2', 'tp 2, sequence parallel', 'tp 4', 'tp 4, sequence parallel'] as const)(
    'gives the losses and gradients of one rank: %s',
    (name) => {
      const alone = ranks[0]?.alone;
      const expected = wholeTensors([alone?.grads ?? []]);
      for (const steps of ranks) expectRelativeL2(steps[name].losses, alone?.losses ?? [], close);
      for (const [parameter, values] of wholeTensors(ranks.map((steps) => steps[name].grads))) {
        const whole = expected.get(parameter) ?? [];
        if (parameter.endsWith('qkv.bias.k'))
          expectClose(values, whole, { atol: 1e-5, because: 'softmax ignores it, so that it is rounding alone' });
        else expectRelativeL2(values, whole, close);
      }
    },
  );

  it('draws apart on data-parallel ranks that say nothing of microbatches, as one rank does for two of them', async () => {
    const loops = await runRanks<OwnLoop>(2, new URL('ranks/dropout.ts', import.meta.url), 'ownLoop');
    for (const { own, dataParallelRank, byMicrobatch } of loops) expectBitwise(own, byMicrobatch[dataParallelRank] ?? []);
    expect(loops[0]?.own).not.toEqual(loops[1]?.own);
  });

  it('drops in a step and not inside evaluate', () => {
    for (const { alone, 'alone, without dropout': without } of ranks) {
      expect(alone.losses).not.toEqual(without.losses);
      expectBitwise(alone.evaluated, without.evaluated);
      expectBitwise(without.losses, without.evaluated);
    }
  });
});
