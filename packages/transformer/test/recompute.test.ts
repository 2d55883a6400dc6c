import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { runRanks } from '@megatron-ts/testing';
import { GPTModel, layerBlocks, type Recompute, TransformerLayer } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RecomputedSteps, recomputes } from './ranks/recompute.ts';

let ranks: Record<string, RecomputedSteps>[];
let ctx: ParallelContext;

beforeAll(async () => {
  ranks = await runRanks(2, new URL('ranks/recompute.ts', import.meta.url), 'recomputedSteps');
  ctx = await initializeModelParallel();
});
afterAll(() => ctx.destroy());

const savedBytes = (world: string, name: string) => ranks[0]?.[world]?.[name]?.savedBytes ?? 0;
const layers = 3;
const stream = 6 * 2 * 16 * 4; // s · b · h values of f32

describe('recompute', () => {
  it('gives the bits of the loss and of all gradients that are there without it, whatever is parallel, dropped out or put off', () => {
    const bytes = (steps: RecomputedSteps, name: string) => {
      const { buffer, byteOffset, byteLength } = steps[name]?.values ?? new Float32Array(0);
      return Buffer.from(buffer, byteOffset, byteLength);
    };
    const unequal = ranks.flatMap((worlds, rank) =>
      Object.entries(worlds).flatMap(([world, steps]) => {
        const plain = bytes(steps, 'nothing');
        return Object.keys(recomputes)
          .filter((name) => plain.length < 1000 || !bytes(steps, name).equals(plain))
          .map((name) => `${name}, ${world}, rank ${rank}`);
      }),
    );
    expect(unequal).toEqual([]);
  });

  it('of all layers keeps the input of each block alone', () => {
    const full = savedBytes('one rank', 'full');
    expect(full - savedBytes('one rank', 'blocks of two')).toBe(stream); // inputs of 3 blocks against 2
    const [sharded, whole] = ['sequence parallelism', 'two ranks with dropout'].map((world) => {
      const [of = 0, uniform = 0] = [savedBytes(world, 'full'), savedBytes(world, 'blocks of two')];
      return of - uniform;
    });
    expect([sharded, whole]).toEqual([stream / 2, stream]);
    expect(full).toBeLessThan(savedBytes('one rank', 'the first layer'));
  });

  it.each([
    ['coreAttention', 'one rank', stream + 4 * 2 * 6 * 4], // the context, and the log-sum-exp of 4 heads · b · s
    ['coreAttention', 'two ranks with dropout', stream / 2 + (4 * 2 * 6 * 4) / 2],
    ['activation', 'one rank', 4 * stream],
    ['activation', 'two ranks with dropout', (4 * stream) / 2],
    ['norm', 'one rank', 2 * stream],
    ['norm', 'two ranks with dropout', 2 * stream],
    ['norm', 'sequence parallelism', (2 * stream) / 2],
  ])('of %s on %s saves %i bytes of each layer', (name, world, bytes) => {
    expect(savedBytes(world, 'nothing') - savedBytes(world, name)).toBe(layers * bytes);
  });

  it.each([
    ['full', 'blocks of two', stream + (stream * 4) / 6], // a block less in each stack, of six tokens and of four
    ['nothing', 'coreAttention', layers * (1 + 2 * (4 / 6)) * (stream + 4 * 2 * 6 * 4)], // the decoder has two attentions
    ['nothing', 'activation', layers * (1 + 4 / 6) * 4 * stream],
    ['nothing', 'norm', layers * (2 + 3 * (4 / 6)) * stream],
  ])('of a T5 keeps, with %s, as many bytes more than with %s: %i', (more, less, bytes) => {
    expect(savedBytes('a gated T5', more) - savedBytes('a gated T5', less)).toBeCloseTo(bytes, 6);
  });

  it('of all parts saves the sum of them', () => {
    for (const world of ['one rank', 'two ranks with dropout', 'sequence parallelism', 'a gated T5']) {
      const saved = (name: string) => savedBytes(world, 'nothing') - savedBytes(world, name);
      expect(saved('all parts')).toBe(saved('coreAttention') + saved('activation') + saved('norm'));
    }
  });
});

describe('settings of recompute', () => {
  const sizes = { hiddenSize: 8, numAttentionHeads: 2 };
  const build = (recompute: unknown) =>
    new GPTModel({ ...sizes, vocabSize: 8, maxSequenceLength: 8, numLayers: 2, recompute: recompute as Recompute, ctx });

  it.each([
    [['attention'], 'GPTModel: recompute names "attention". Use some of "coreAttention", "activation", "norm", or "full".'],
    ['selective', 'GPTModel: recompute is "selective". Use "full", a list of parts such as ["activation", "norm"], or'],
    [{ method: 'uniform', numLayers: 0 }, 'GPTModel: recompute is {"method":"uniform","numLayers":0}. Use "full", a list'],
    [{ method: 'every', numLayers: 1 }, 'or { method: "uniform" or "block", numLayers: a whole number of at least 1 }.'],
  ])('%j is refused in one sentence', (recompute, sentence) => {
    expect(() => build(recompute)).toThrow(sentence);
  });

  it('of one layer are parts of it', () => {
    const recompute = ['mlp'] as unknown as ['norm'];
    expect(() => new TransformerLayer({ ...sizes, recompute, tpGroup: ctx.tp })).toThrow('TransformerLayer: recompute names "mlp".');
  });

  it('cut the layers of a chunk into blocks', () => {
    const text = (recompute: Recompute | undefined) =>
      layerBlocks('GPTModel', 5, recompute).map(({ count, isRecomputed }) => `${count}${isRecomputed ? ' again' : ''}`);
    expect(text(undefined)).toEqual(['1', '1', '1', '1', '1']);
    expect(text(['norm'])).toEqual(['1', '1', '1', '1', '1']);
    expect(text('full')).toEqual(['1 again', '1 again', '1 again', '1 again', '1 again']);
    expect(text({ method: 'uniform', numLayers: 2 })).toEqual(['2 again', '2 again', '1 again']);
    expect(text({ method: 'block', numLayers: 2 })).toEqual(['1 again', '1 again', '1', '1', '1']);
    expect(text({ method: 'block', numLayers: 9 })).toHaveLength(5);
  });
});
