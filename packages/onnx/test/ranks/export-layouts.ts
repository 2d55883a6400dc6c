import { type GPTConfig, GPTModel, initializeModelParallel, MegatronError, type ModelParallelOptions } from '@megatron-ts/core';
import { exportOnnx } from '@megatron-ts/onnx';
import { join } from 'node:path';
import { batchOf } from '../onnx-runtime.ts';
import { forwardOf, trainOnce } from './train-and-forward.ts';

/** A model on a mesh, and the file it is written to. */
export interface ExportPlan {
  readonly name: string;
  readonly mesh: ModelParallelOptions;
  readonly config: GPTConfig<boolean>;
  /** Sequence and batch of the forward that is compared. */
  readonly shape: readonly [number, number];
  /** As in `ExportOnnxOptions`. */
  readonly externalDataAbove?: number;
}

/** What one rank has to say. */
export interface Exported {
  /** Its model's own logits, by plan; on the last stage. */
  readonly logits: Record<string, Float32Array | undefined>;
  /** What exports that cannot work throw. */
  readonly refusals: Record<string, string>;
}

/** Trains, writes and runs each model of a list on the ranks of one world. */
export async function exportLayouts(folder: string, plans: readonly ExportPlan[]): Promise<Exported> {
  const logits: Record<string, Float32Array | undefined> = {};
  for (const { name, mesh, config, shape, externalDataAbove = 1e6 } of plans) {
    await using ctx = await initializeModelParallel({ ...mesh, seed: 11 });
    const model = new GPTModel({ ...(config as GPTConfig), ctx }).initialize(ctx);
    trainOnce(model, ctx);
    exportOnnx(model, join(folder, `${name}.onnx`), { ctx, externalDataAbove });
    logits[name] = forwardOf(model, ctx, batchOf(shape, config.vocabSize));
    model.dispose();
  }
  await exportChunks(folder);
  return { logits, refusals: await refusals(folder) };
}

const small: GPTConfig = { vocabSize: 13, maxSequenceLength: 8, hiddenSize: 8, numLayers: 4, numAttentionHeads: 2, initStd: 0.3 };

/** Two chunks on each of two stages, and the same model on every rank for itself. */
async function exportChunks(folder: string): Promise<void> {
  await using ctx = await initializeModelParallel({ pipelineModelParallelSize: 2, virtualPipelineModelParallelSize: 2, seed: 3 });
  const chunks = [0, 1].map((chunk) => new GPTModel({ ...small, ctx, chunk }).initialize(ctx));
  exportOnnx(chunks, join(folder, 'chunks.onnx'), { ctx });
  await using alone = await initializeModelParallel({ seed: 3 });
  exportOnnx(new GPTModel({ ...small, ctx: alone }).initialize(alone), join(folder, 'whole.onnx'), { ctx: alone });
}

async function refusals(folder: string): Promise<Record<string, string>> {
  await using ctx = await initializeModelParallel({ pipelineModelParallelSize: 2, virtualPipelineModelParallelSize: 2, seed: 3 });
  const chunks = [0, 1].map((chunk) => new GPTModel({ ...small, ctx, chunk }).initialize(ctx));
  const [first] = chunks as [GPTModel, GPTModel];
  const own = [0, 1].map((chunk) => new GPTModel({ ...small, ctx, chunk }));
  if (ctx.world.rank !== 2) for (const chunk of own) chunk.initialize(ctx);
  const refusal = (f: () => void) => sentenceOf(f);
  return {
    folder: refusal(() => exportOnnx(chunks, join(folder, 'missing', 'm.onnx'), { ctx })),
    chunk: refusal(() => exportOnnx(first, join(folder, 'half.onnx'), { ctx })),
    oneRank: refusal(() => exportOnnx(own, join(folder, 'uninitialized.onnx'), { ctx })),
  };
}

function sentenceOf(f: () => void): string {
  try {
    f();
  } catch (error) {
    if (error instanceof MegatronError) return `${error.name} ${error.code} ${error.message}`;
    throw error;
  }
  return 'nothing was refused';
}
