import { runRanks } from '@megatron-ts/testing';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { batchOf, serve } from './onnx-runtime.ts';
import type { Exported, ExportPlan } from './ranks/export-layouts.ts';

const config = { vocabSize: 37, maxSequenceLength: 12, hiddenSize: 16, numLayers: 4, numAttentionHeads: 4, initStd: 0.3 };
const gated = { activation: 'swiglu', normalization: 'rmsNorm', tieWordEmbeddings: false, bias: false } as const;
const llama = { ...config, ...gated, numKeyValueHeads: 2, rotary: { base: 500_000 } } as const;
const shape = [8, 3] as const;

/** On four ranks: what tensor and pipeline leave over is data parallel. */
const plans: readonly ExportPlan[] = [
  { name: 'data-4', mesh: {}, config, shape },
  { name: 'tensor-2', mesh: { tensorModelParallelSize: 2 }, config: { ...config, activation: 'geglu', window: 3 }, shape },
  { name: 'tensor-4', mesh: { tensorModelParallelSize: 4 }, config, shape },
  { name: 'tensor-4-padded', mesh: { tensorModelParallelSize: 4 }, config: { ...config, vocabMultiple: 4 }, shape },
  { name: 'tensor-4-sequence', mesh: { tensorModelParallelSize: 4 }, config: { ...config, ...gated, sequenceParallel: true }, shape },
  { name: 'tensor-4-llama', mesh: { tensorModelParallelSize: 4 }, config: { ...llama, qkNorm: true }, shape },
  { name: 'tensor-2-pipeline-2-llama', mesh: { tensorModelParallelSize: 2, pipelineModelParallelSize: 2 }, config: llama, shape },
  { name: 'pipeline-2', mesh: { pipelineModelParallelSize: 2 }, config, shape, externalDataAbove: 0 },
  { name: 'pipeline-4', mesh: { pipelineModelParallelSize: 4 }, config: { ...config, tieWordEmbeddings: false }, shape },
  {
    name: 'tensor-2-pipeline-2',
    mesh: { tensorModelParallelSize: 2, pipelineModelParallelSize: 2 },
    config: { ...config, ...gated },
    shape,
  },
];

describe('a model written by four ranks', () => {
  const folder = mkdtempSync(join(tmpdir(), 'megatron-onnx-'));
  let ranks: Exported[];

  beforeAll(async () => {
    ranks = await runRanks<Exported>(4, new URL('ranks/export-layouts.ts', import.meta.url), 'exportLayouts', { args: [folder, plans] });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  // Another engine adds in another order: close, not bitwise.
  it.each(plans)('gives in ONNX Runtime the logits of the sharded forward, within 1e-4: $name', async ({ name, config }) => {
    const own = ranks.flatMap(({ logits }) => logits[name] ?? []);
    expect(own.length).toBeGreaterThan(0);
    const served = await (await serve(join(folder, `${name}.onnx`))).logits(batchOf(shape, config.vocabSize));
    for (const logits of own) {
      expect(served).toHaveLength(logits.length);
      expect(logits.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (served[i] ?? NaN))), 0)).toBeLessThan(1e-4);
      expect(logits.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)).toBeGreaterThan(1);
    }
  });

  it('has the bytes of the model on one rank where it was drawn alike, in chunks too', () => {
    expect(readFileSync(join(folder, 'chunks.onnx')).equals(readFileSync(join(folder, 'whole.onnx')))).toBe(true);
  });

  it('tells every rank, in one sentence, what went wrong on one of them, and leaves no file', () => {
    for (const { refusals } of ranks) {
      expect(refusals).toEqual({
        folder: expect.stringMatching(/^CheckpointError UNWRITABLE rank 0: exportOnnx: ".*m\.onnx" cannot be written: ENOENT.*/),
        chunk: expect.stringMatching(
          /^CheckpointError INCOMPLETE rank 0: exportOnnx: no rank brings "layers\.2\..*Give the model, or all its chunks/,
        ),
        oneRank: expect.stringMatching(/^ConfigError NOT_INITIALIZED rank 2: gatherWhole: parameter ".*" has no values yet\. Call model/),
      });
      expect(refusals).toEqual(ranks[0]?.refusals);
    }
    const models = [...plans.map(({ name }) => name), 'chunks', 'whole'].map((name) => `${name}.onnx`);
    const data = readdirSync(folder).filter((name) => /^pipeline-2\.onnx\.[0-9a-f]{12}\.data$/.test(name));
    expect(readdirSync(folder).sort()).toEqual([...models, ...data].sort());
    expect(data).toHaveLength(1);
  });
});
