import { createMesh } from '@megatron-ts/mesh';
import { finalizeGrads, initializeModelParallel, type ParallelContext, ProcessGroup } from '@megatron-ts/process-groups';
import { type AnyTensor, axpy, backward, evaluate, globalNumel, memoryStats, scope, tensor } from '@megatron-ts/tensor';
import { expectBitwise } from '@megatron-ts/testing';
import { type GPTConfig, GPTModel, type ModelContext } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let ctx: ParallelContext;

beforeAll(async () => {
  ctx = await initializeModelParallel();
});
afterAll(() => ctx.destroy());

const tiny: GPTConfig = { vocabSize: 11, maxSequenceLength: 6, hiddenSize: 8, numLayers: 4, numAttentionHeads: 2, initStd: 0.1 };

/** Stage `rank` of a pipeline, for what needs no communication. */
function stage(rank: number, numStages: number, numChunks = 1): ModelContext {
  const ranks = Array.from({ length: numStages }, (_, i) => i);
  return {
    tp: new ProcessGroup({ name: 'tp', ranks: [rank], rank: 0, id: undefined }),
    pp: new ProcessGroup({ name: 'pp', ranks, rank, id: undefined }),
    mesh: createMesh({
      worldSize: numStages,
      pipelineModelParallelSize: numStages,
      ...(numChunks === 1 ? {} : { virtualPipelineModelParallelSize: numChunks }),
    }),
  };
}

const tokens = () =>
  tensor(
    Int32Array.from({ length: 12 }, (_, i) => (7 * i) % 11),
    [6, 2],
  );
const targets = () =>
  tensor(
    Int32Array.from({ length: 12 }, (_, i) => (7 * i + 3) % 11),
    [6, 2],
  );

function floats(x: AnyTensor | undefined): Float32Array {
  return (x as AnyTensor).toArray() as Float32Array;
}

describe('a GPT model', () => {
  it('names its parameters by the layer of the whole model, on every stage', () => {
    const names = (context: ModelContext, chunk = 0) => [...new GPTModel({ ...tiny, ctx: context, chunk }).namedParameters().keys()];
    const parts = ['attentionNorm', 'attention.qkv', 'attention.projection', 'mlpNorm', 'mlp.up', 'mlp.down'];
    const block = (layer: number) => parts.flatMap((name) => [`layers.${layer}.${name}.weight`, `layers.${layer}.${name}.bias`]);
    const first = ['embedding.wordEmbeddings.weight', 'embedding.positionEmbeddings.weight'];
    const last = ['finalNorm.weight', 'finalNorm.bias', 'head.weight'];
    expect(names(ctx)).toEqual([...first, ...[0, 1, 2, 3].flatMap(block), ...last]);
    expect(names(stage(0, 2))).toEqual([...first, ...[0, 1].flatMap(block)]);
    expect(names(stage(1, 2))).toEqual([...[2, 3].flatMap(block), ...last]);
    expect(names(stage(0, 2, 2), 1)).toEqual(block(2));
    expect(names(stage(1, 2, 2), 1)).toEqual([...block(3), ...last]);
  });

  it('tells its sizes and settings, with defaults filled in, the same on every stage', () => {
    const { config } = new GPTModel({ ...tiny, ctx: stage(0, 2) });
    expect(config).toMatchObject({ ...tiny, ffnHiddenSize: 32, bias: true, activation: 'gelu', headDim: 4, numKeyValueHeads: 2 });
    expect(new GPTModel({ ...tiny, ctx: stage(1, 2) }).config).toEqual(config);
  });

  it('GPT-3 is counted without allocating', () => {
    const before = memoryStats().liveBytes;
    const [h, layers, vocabSize, maxSequenceLength] = [12288, 96, 50257, 2048];
    const model = new GPTModel({ ctx, vocabSize, maxSequenceLength, hiddenSize: h, numLayers: layers, numAttentionHeads: 96 });
    const own = model.parameters().filter(({ tiedTo }) => tiedTo === undefined);
    const count = own.reduce((sum, { meta }) => sum + globalNumel(meta), 0);
    expect(count).toBe(layers * (12 * h * h + 13 * h) + (vocabSize + maxSequenceLength) * h + 2 * h);
    expect(memoryStats().liveBytes).toBe(before);
  });

  it('the tied head uses the embedding, and its gradient is kept apart and added once', () => {
    const model = new GPTModel({ ...tiny, ctx }).initialize(ctx);
    scope(() => model.lossOf(model.call(tokens(), targets())).sum.backward());
    const weight = model.embedding?.wordEmbeddings.weight;
    const [own, head] = [floats(weight?.grad), floats(model.head?.weight.grad)];
    expect(model.head?.weight.tiedTo).toBe(weight);
    finalizeGrads(model.parameters(), { ctx });
    expectBitwise(
      floats(weight?.grad),
      own.map((value, i) => Math.fround(value + (head[i] ?? 0))),
    );
    expect(model.head?.weight.grad).toBeUndefined();
    model.dispose();
  });

  it('an untied head has values of its own', () => {
    const model = new GPTModel({ ...tiny, tieWordEmbeddings: false, ctx }).initialize(ctx);
    expect(model.head?.weight.tiedTo).toBeUndefined();
    expect(floats(model.head?.weight)).not.toEqual(floats(model.embedding?.wordEmbeddings.weight));
    expect(model.head?.weight.meta).toMatchObject({ isPrimary: true, sharedOver: undefined });
    model.dispose();
  });

  it('two stages give the bits of one: losses, and the gradient of every weight', () => {
    const whole = new GPTModel({ ...tiny, ctx }).initialize(ctx);
    const front = new GPTModel({ ...tiny, ctx: stage(0, 2) }).initialize(ctx);
    const back = new GPTModel({ ...tiny, ctx: stage(1, 2) }).initialize(ctx);
    expect(front.embedding?.wordEmbeddings.weight.meta).toMatchObject({ sharedOver: 'embedding', isPrimary: true });
    expect(back.head?.weight.meta).toMatchObject({ sharedOver: 'embedding', isPrimary: false });
    scope(() => {
      const losses = whole.call(tokens(), targets());
      whole.lossOf(losses).sum.backward();
      const hidden = front.call(tokens());
      expect(hidden.shape).toEqual(front.activationShape([6, 2]));
      const received = hidden.detach();
      received.requiresGrad = true;
      const staged = back.call(received, targets());
      back.lossOf(staged).sum.backward();
      backward([hidden], [received.grad as AnyTensor]);
      expectBitwise(floats(staged), floats(losses));
    });
    for (const model of [front, back])
      for (const [name, parameter] of model.namedParameters()) {
        const same = whole.namedParameters().get(name);
        expectBitwise(floats(parameter), floats(same));
        expectBitwise(floats(parameter.grad), floats(same?.grad));
      }
    for (const model of [whole, front, back]) model.dispose();
  });

  it('losses are the same from targets in forward and from logits afterwards', () => {
    const model = new GPTModel({ ...tiny, ctx }).initialize(ctx);
    const [direct, later, shape] = evaluate(() => {
      const logits = model.call(tokens());
      const losses = model.call(tokens(), targets());
      return [model.lossOf(losses).sum.item(), model.lossOf(logits, targets()).sum.item(), model.logits(tokens()).shape];
    });
    expect(later).toBe(direct);
    expect(shape).toEqual([6, 2, 11]);
    model.dispose();
  });

  it('learns a batch by heart, and live memory does not grow', () => {
    const model = new GPTModel({ ...tiny, ctx }).initialize(ctx);
    const parameters = model.parameters();
    const step = (n: number) =>
      ctx.step(n, () => {
        const { sum, count } = model.lossOf(model.call(tokens(), targets()));
        sum.backward();
        finalizeGrads(parameters, { ctx, scale: 1 / count });
        for (const parameter of parameters) if (parameter.grad !== undefined) axpy(parameter, -0.5, parameter.grad);
        model.zeroGrad();
        return sum.item() / count;
      });
    const first = step(0);
    expect(Math.abs(first - Math.log(11))).toBeLessThan(0.5);
    step(1);
    const { liveBytes, liveHandles } = memoryStats();
    let last = first;
    for (let n = 2; n < 150; n++) last = step(n);
    expect(last).toBeLessThan(0.1);
    expect(memoryStats()).toMatchObject({ liveBytes, liveHandles });
    model.dispose();
  });

  it('output projections begin smaller by sqrt(2 · numLayers)', () => {
    const model = new GPTModel({ ...tiny, hiddenSize: 64, numLayers: 2, initStd: 0.02, ctx }).initialize(ctx);
    const deviation = (name: string) => {
      const values = floats(model.namedParameters().get(name));
      return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    };
    const expected = { 'attention.qkv': 0.02, 'mlp.up': 0.02, 'attention.projection': 0.01, 'mlp.down': 0.01 };
    for (const [name, std] of Object.entries(expected)) expect(deviation(`layers.1.${name}.weight`) / std).toBeCloseTo(1, 1);
    model.dispose();
  });

  it('refuses what does not fit, with the remedy', () => {
    const threeStages = () => new GPTModel({ ...tiny, ctx: stage(0, 3) });
    expect(threeStages).toThrow('numLayers 4 is not divisible by pipelineModelParallelSize 3. Use 3 or 6 layers');
    expect(() => new GPTModel({ ...tiny, ctx, chunk: 1 })).toThrow('GPTModel: chunk 1 does not exist; each stage has 1. Use 0 to 0.');
    const notANumber = () => new GPTModel({ ...tiny, initStd: Number.NaN, ctx });
    expect(notANumber).toThrow('GPTModel: initStd is NaN. Use a number of at least 0, such as 0.02.');
    const model = new GPTModel({ ...tiny, ctx }).initialize(ctx);
    const long = () => scope(() => model.call(tensor(new Int32Array(7), [7, 1])));
    expect(long).toThrow('tokens [7, 1] are not [s, b] with s up to maxSequenceLength 6.');
    model.dispose();
  });
});
