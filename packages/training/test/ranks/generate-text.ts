import { initializeModelParallel, type ModelParallelOptions } from '@megatron-ts/process-groups';
import { generate, type GenerateOptions } from '@megatron-ts/training';
import { GPTModel } from '@megatron-ts/transformer';

/** What one model says, likeliest first and drawn. */
export interface Text {
  readonly greedy: Int32Array;
  readonly drawn: Int32Array;
  readonly otherSeed: Int32Array;
  /** Longer than the model sees at once. */
  readonly long: Int32Array;
}

/** Continues a prompt on a mesh of these sizes; the same model on every mesh. */
export async function generateText(sizes: ModelParallelOptions): Promise<Text> {
  await using ctx = await initializeModelParallel({ ...sizes, seed: 5 });
  const config = { vocabSize: 37, maxSequenceLength: 12, hiddenSize: 16, numLayers: 4, numAttentionHeads: 4, initStd: 0.3 };
  const model = new GPTModel({ ...config, ctx }).initialize(ctx);
  const continued = (options: Partial<GenerateOptions>) =>
    generate({ ctx, model, prompt: [3, 1, 4], numTokens: 8, contextLength: 12, ...options });
  return {
    greedy: continued({ temperature: 0 }),
    drawn: continued({ temperature: 1.5 }),
    otherSeed: continued({ temperature: 1.5, seed: 9 }),
    long: continued({ numTokens: 20 }),
  };
}
