import { GPTModel, initializeModelParallel, type ParallelContext } from '@megatron-ts/core';
import { exportOnnx } from '@megatron-ts/onnx';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { batchOf, serve } from '../../../packages/onnx/test/onnx-runtime.ts';
import { randomConfig } from '../../../packages/onnx/test/random-configs.ts';
import { forwardOf, trainOnce } from '../../../packages/onnx/test/ranks/train-and-forward.ts';

const folder = mkdtempSync(join(tmpdir(), 'megatron-onnx-'));
let ctx: ParallelContext;

beforeAll(async () => {
  ctx = await initializeModelParallel({ seed: 29 });
});
afterAll(async () => {
  await ctx.destroy();
  rmSync(folder, { recursive: true });
});

describe('a hundred random configurations in ONNX Runtime', () => {
  // Another engine adds in another order: close, not bitwise.
  it.each(Array.from({ length: 100 }, (_, i) => 1000 + i))('gives the logits of the model within 1e-4: %i', async (seed) => {
    const config = randomConfig(seed);
    const model = new GPTModel({ ...config, ctx }).initialize(ctx);
    trainOnce(model, ctx);
    const path = join(folder, 'model.onnx');
    exportOnnx(model, path, { ctx, externalDataAbove: seed % 2 === 0 ? 0 : 1e6 });
    const served = await serve(path);
    for (const shape of [
      [config.maxSequenceLength, 1],
      [3, 4],
    ] as const) {
      const batch = batchOf(shape, config.vocabSize);
      const own = forwardOf(model, ctx, batch) ?? new Float32Array();
      const logits = await served.logits(batch);
      expect(logits).toHaveLength(own.length);
      expect(own.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (logits[i] ?? NaN))), 0)).toBeLessThan(1e-4);
    }
    model.dispose();
  });
});
