import { createMesh } from '@megatron-ts/mesh';
import { initializeModelParallel, type ParallelContext, ProcessGroup } from '@megatron-ts/process-groups';
import { memoryStats } from '@megatron-ts/tensor';
import { countParameters, summary } from '@megatron-ts/training';
import { GPTModel, type ModelContext } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let ctx: ParallelContext;

beforeAll(async () => {
  ctx = await initializeModelParallel();
});
afterAll(() => ctx.destroy());

const small = { vocabSize: 11, maxSequenceLength: 6, hiddenSize: 8, numLayers: 1, numAttentionHeads: 2 };

/** The last rank of a mesh of tensor t x pipeline p, for what needs no communication. */
function lastRank(t: number, p: number): ModelContext {
  const group = (name: string, size: number) =>
    new ProcessGroup({ name, ranks: Array.from({ length: size }, (_, i) => i), rank: size - 1, id: undefined });
  const mesh = createMesh({ worldSize: t * p, tensorModelParallelSize: t, pipelineModelParallelSize: p });
  return { tp: group('tp', t), pp: group('pp', p), mesh };
}

describe('summary', () => {
  it('prints the tree with forms, parameters here and in all, and bytes', () => {
    const before = memoryStats().liveBytes;
    expect(`\n${summary(new GPTModel({ ...small, ctx }))}\n`).toMatchInlineSnapshot(`
      "
      module                  form                    local  global    bytes
      model                   GPTModel                1.0 k   1.0 k  4.0 KiB
        embedding             GPTEmbedding              136     136    544 B
          wordEmbeddings      VocabParallelEmbedding     88      88    352 B
            weight            f32 [11, 8]                88      88    352 B
          positionEmbeddings  PositionEmbedding          48      48    192 B
            weight            f32 [6, 8]                 48      48    192 B
        layers.0              TransformerLayer          872     872  3.4 KiB
          attentionNorm       LayerNorm                  16      16     64 B
            weight            f32 [8]                     8       8     32 B
            bias              f32 [8]                     8       8     32 B
          attention           ParallelAttention         288     288  1.1 KiB
            qkv               ColumnParallelLinear      216     216    864 B
              weight          f32 [24, 8]               192     192    768 B
              bias            f32 [24]                   24      24     96 B
            projection        RowParallelLinear          72      72    288 B
              weight          f32 [8, 8]                 64      64    256 B
              bias            f32 [8]                     8       8     32 B
          mlpNorm             LayerNorm                  16      16     64 B
            weight            f32 [8]                     8       8     32 B
            bias              f32 [8]                     8       8     32 B
          mlp                 ParallelMLP               552     552  2.2 KiB
            up                ColumnParallelLinear      288     288  1.1 KiB
              weight          f32 [32, 8]               256     256  1.0 KiB
              bias            f32 [32]                   32      32    128 B
            down              RowParallelLinear         264     264  1.0 KiB
              weight          f32 [8, 32]               256     256  1.0 KiB
              bias            f32 [8]                     8       8     32 B
        finalNorm             LayerNorm                  16      16     64 B
          weight              f32 [8]                     8       8     32 B
          bias                f32 [8]                     8       8     32 B
        head (tied)           LanguageModelHead           0       0      0 B
          weight (tied)       f32 [11, 8]                 0       0      0 B
      "
    `);
    expect(memoryStats().liveBytes).toBe(before);
  });

  it('tells the rank its part of what all ranks hold', () => {
    const rows = summary(new GPTModel({ ...small, ctx: lastRank(2, 1) })).split('\n');
    const row = (name: string) =>
      rows
        .find((line) => line.trim().startsWith(`${name} `))
        ?.split(/ {2,}/)
        .slice(-3);
    expect(row('qkv')).toEqual(['108', '216', '432 B']);
    expect(row('finalNorm')).toEqual(['16', '16', '64 B']);
  });

  it('is the same after initialize', () => {
    const model = new GPTModel({ ...small, ctx });
    const described = summary(model);
    expect(summary(model.initialize(ctx))).toBe(described);
    model.dispose();
  });
});

describe('countParameters', () => {
  it('counts a tied weight once', () => {
    const [tied, untied] = [true, false].map((tieWordEmbeddings) =>
      countParameters(new GPTModel({ ...small, tieWordEmbeddings, ctx }).parameters()),
    );
    expect(untied?.global).toBe((tied?.global ?? 0) + 11 * 8);
    expect(tied).toEqual({ local: tied?.global, global: tied?.global, bytes: 4 * (tied?.global ?? 0) });
  });

  it('counts GPT-3 without allocating, whole and by rank', () => {
    const before = memoryStats().liveBytes;
    const [h, layers, vocabSize, maxSequenceLength] = [12288, 96, 50257, 2048];
    const config = { vocabSize, maxSequenceLength, hiddenSize: h, numLayers: layers, numAttentionHeads: 96 };
    const whole = countParameters(new GPTModel({ ...config, ctx }).parameters());
    expect(whole.global).toBe(layers * (12 * h * h + 13 * h) + (vocabSize + maxSequenceLength) * h + 2 * h);
    expect(whole.bytes).toBe(4 * whole.global);
    const part = countParameters(new GPTModel({ ...config, ctx: lastRank(8, 16) }).parameters());
    expect(part.local).toBe((layers / 16) * ((12 * h * h + 7 * h) / 8 + 6 * h) + Math.floor(vocabSize / 8) * h + 2 * h);
    expect(memoryStats().liveBytes).toBe(before);
  });
});
