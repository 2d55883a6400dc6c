import { GPTModel, initializeModelParallel } from '@megatron-ts/core';
import { exportOnnx } from '@megatron-ts/onnx';
import { readFileSync } from 'node:fs';

const ctx = await initializeModelParallel({ seed: 1 });
const config = { vocabSize: 5, maxSequenceLength: 4, hiddenSize: 4, numLayers: 1, numAttentionHeads: 1 };
exportOnnx(new GPTModel({ ...config, ctx }).initialize(ctx), 'model.onnx', { ctx });
console.log('onnx', readFileSync('model.onnx').includes('layers.0.mlp.up.weight'));
await ctx.destroy();
