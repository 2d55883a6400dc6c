import { fromBinary } from '@bufbuild/protobuf';
import {
  type GPTConfig,
  GPTModel,
  initializeModelParallel,
  LlamaModel,
  memoryStats,
  MegatronError,
  type ParallelContext,
  ParallelMLP,
} from '@megatron-ts/core';
import { exportOnnx } from '@megatron-ts/onnx';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ModelProto, ModelProtoSchema, TensorProto_DataType as DataType } from '../src/generated/onnx_pb.ts';
import { batchOf, serve } from './onnx-runtime.ts';
import { randomConfig } from './random-configs.ts';
import { forwardOf, trainOnce } from './ranks/train-and-forward.ts';

const folder = mkdtempSync(join(tmpdir(), 'megatron-onnx-'));
let ctx: ParallelContext;

beforeAll(async () => {
  ctx = await initializeModelParallel({ seed: 23 });
});
afterAll(async () => {
  await ctx.destroy();
  rmSync(folder, { recursive: true });
});

const small: GPTConfig = { vocabSize: 19, maxSequenceLength: 8, hiddenSize: 8, numLayers: 2, numAttentionHeads: 2, initStd: 0.3 };

function modelOf(config: GPTConfig): GPTModel {
  return new GPTModel({ ...config, ctx }).initialize(ctx);
}

function readModel(path: string): ModelProto {
  return fromBinary(ModelProtoSchema, readFileSync(path));
}

/** The largest difference between what ONNX Runtime makes of a file and what the model itself does. */
async function difference(path: string, model: GPTModel, shape: readonly [number, number]): Promise<number> {
  const batch = batchOf(shape, model.config.vocabSize);
  const own = forwardOf(model, ctx, batch) ?? new Float32Array();
  const served = await (await serve(path)).logits(batch);
  expect(served).toHaveLength(own.length);
  return own.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (served[i] ?? NaN))), 0);
}

/** Code and sentence of what is refused. */
function refusal(f: () => void): string {
  try {
    f();
  } catch (error) {
    if (error instanceof MegatronError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'nothing was refused';
}

describe('an exported GPT model', () => {
  // Another engine adds in another order: close, not bitwise.
  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])(
    'gives the logits of the model for batches of any size, within 1e-4: configuration %i',
    async (seed) => {
      const model = modelOf(randomConfig(seed));
      trainOnce(model, ctx);
      const path = join(folder, `random-${seed}.onnx`);
      exportOnnx(model, path, { ctx });
      expect(await difference(path, model, [7, 2])).toBeLessThan(1e-4);
      expect(await difference(path, model, [1, 1])).toBeLessThan(1e-4);
      expect(await difference(path, model, [model.config.maxSequenceLength, 3])).toBeLessThan(1e-4);
      model.dispose();
    },
  );

  it('says its opset, takes tokens [batch, sequence], and has the weights by their names, bit for bit', () => {
    const model = modelOf({ ...small, activation: 'swiglu', tieWordEmbeddings: false });
    trainOnce(model, ctx);
    const path = join(folder, 'named.onnx');
    exportOnnx(model, path, { ctx });
    const { opsetImport, graph } = readModel(path);
    expect(opsetImport).toMatchObject([{ domain: '', version: 20n }]);
    const form = (value: { name: string }) => JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? Number(one) : one));
    expect(graph?.input.map(form).join()).toMatch(/"tokens".*"elemType":7.*"batch".*"sequence"/);
    expect(graph?.output.map(form).join()).toMatch(/"logits".*"elemType":1.*"batch".*"sequence".*19/);
    const written = new Map(graph?.initializer.map((tensor) => [tensor.name, tensor]));
    const parameters = model.namedParameters();
    const names = [...parameters].flatMap(([name, { meta }]) =>
      meta.logical.map(({ suffix }) => (suffix === '' ? name : `${name}.${suffix}`)),
    );
    expect([...written.keys()].filter((name) => /\.(weight|bias)/.test(name)).sort()).toEqual(names.sort());
    const qkv = parameters.get('layers.1.attention.qkv.weight')?.toArray() ?? new Float32Array();
    const key = written.get('layers.1.attention.qkv.weight.k');
    expect(key).toMatchObject({ dims: [8n, 8n], dataType: DataType.FLOAT });
    expect(new Uint8Array(key?.rawData ?? [])).toEqual(new Uint8Array(qkv.slice(64, 128).buffer));
    model.dispose();
  });

  it('of Llama gives its logits, far into a sequence too', async () => {
    const sizes = { ...small, maxSequenceLength: 300, hiddenSize: 32, numAttentionHeads: 4, ffnHiddenSize: 40 };
    const model = new LlamaModel({ ...sizes, numKeyValueHeads: 2, ctx }).initialize(ctx);
    const path = join(folder, 'llama.onnx');
    exportOnnx(model, path, { ctx });
    expect(await difference(path, model, [300, 1])).toBeLessThan(1e-4);
    model.dispose();
  });

  it('of a tied head has its weight once', () => {
    const model = modelOf(small);
    const path = join(folder, 'tied.onnx');
    exportOnnx(model, path, { ctx });
    const names = readModel(path).graph?.initializer.map(({ name }) => name) ?? [];
    expect(names.filter((name) => /wordEmbeddings|head/.test(name))).toEqual(['embedding.wordEmbeddings.weight']);
    model.dispose();
  });

  it('of bf16 parameters has their values in float, and gives the logits that they give in float', async () => {
    const model = modelOf({ ...small, paramDType: 'bf16' });
    trainOnce(model, ctx);
    const path = join(folder, 'bf16.onnx');
    exportOnnx(model, path, { ctx });
    const weight = readModel(path).graph?.initializer.find(({ name }) => name === 'layers.0.mlp.up.weight');
    const own = model.namedParameters().get('layers.0.mlp.up.weight')?.toArray() ?? new Float32Array();
    expect(new Uint8Array(weight?.rawData ?? [])).toEqual(new Uint8Array(own.buffer));
    const far = await difference(path, model, [7, 2]); // the model rounds its activations to 8 bits, the graph does not
    expect(far).toBeLessThan(0.2);
    expect(far).toBeGreaterThan(1e-4);
    model.dispose();
  });

  it('leaves the memory as it was', () => {
    const model = modelOf(small);
    const write = () => exportOnnx(model, join(folder, 'memory.onnx'), { ctx });
    write();
    const { liveHandles, liveBytes } = memoryStats();
    write();
    expect(memoryStats()).toMatchObject({ liveHandles, liveBytes });
    model.dispose();
  });
});

describe('weights above externalDataAbove', () => {
  it('stand in one file beside the model, large ones where they can be mapped, and the file of an earlier export goes', async () => {
    const inner = mkdtempSync(join(folder, 'external-'));
    const path = join(inner, 'gpt.onnx');
    writeFileSync(join(inner, 'gpt.onnx.notes.data'), 'not ours');
    const model = modelOf({ ...small, vocabSize: 17_000, hiddenSize: 16 });
    exportOnnx(model, path, { ctx, externalDataAbove: 2 ** 20 });
    const before = readdirSync(inner).sort();
    expect(await difference(path, model, [5, 2])).toBeLessThan(1e-4);
    trainOnce(model, ctx);
    exportOnnx(model, path, { ctx, externalDataAbove: 2 ** 20 });
    const after = readdirSync(inner).sort();
    expect(await difference(path, model, [5, 2])).toBeLessThan(1e-4);
    expect(after).not.toEqual(before);
    expect(after.filter((name) => !before.includes(name))).toEqual([expect.stringMatching(/^gpt\.onnx\.[0-9a-f]{12}\.data$/)]);
    expect(after).toHaveLength(3);
    const tensors = readModel(path).graph?.initializer.filter(({ externalData }) => externalData.length > 0) ?? [];
    expect(tensors.length).toBeGreaterThan(20);
    const words = tensors.find(({ name }) => name === 'embedding.wordEmbeddings.weight');
    const { offset, location } = Object.fromEntries(words?.externalData.map(({ key, value }) => [key, value]) ?? []);
    expect(Number(offset) % 65_536).toBe(0);
    expect(after).toContain(location);
    exportOnnx(model, path, { ctx });
    expect(readdirSync(inner).sort()).toEqual(['gpt.onnx', 'gpt.onnx.notes.data']);
    model.dispose();
  });
});

describe('what cannot be exported is refused in one sentence', () => {
  const path = join(folder, 'refused.onnx');

  it('a model without values', () => {
    const model = new GPTModel({ ...small, ctx });
    expect(refusal(() => exportOnnx(model, path, { ctx }))).toMatch(
      /^NOT_INITIALIZED gatherWhole: parameter "embedding\.\S+" has no values yet\. Call model\.initialize\(ctx\) first\.$/,
    );
  });

  it('another module, or none', () => {
    const mlp = new ParallelMLP({ hiddenSize: 8, tpGroup: ctx.tp });
    expect(refusal(() => exportOnnx(mlp as unknown as GPTModel, path, { ctx }))).toBe(
      'INVALID_OPTION exportOnnx: a ParallelMLP is no model that can be written. Give a GPTModel, or the list of its chunks on this rank.',
    );
    expect(refusal(() => exportOnnx([], path, { ctx }))).toMatch(/^INVALID_OPTION exportOnnx: an empty list is no model/);
    expect(refusal(() => exportOnnx(null as unknown as GPTModel, path, { ctx }))).toMatch(/^INVALID_OPTION exportOnnx: null is no model/);
  });

  it('an activation, a norm or an option without a graph', () => {
    const model = modelOf(small);
    const odd = (config: object) => Object.create(model, { config: { value: { ...model.config, ...config } } }) as GPTModel;
    expect(refusal(() => exportOnnx(odd({ activation: 'mish' }), path, { ctx }))).toBe(
      'INVALID_OPTION exportOnnx: activation "mish" has no ONNX graph. Export a model with gelu, geluErf, relu, squaredRelu, swiglu, geglu.',
    );
    expect(refusal(() => exportOnnx(odd({ alibi: true }), path, { ctx }))).toBe(
      'INVALID_OPTION exportOnnx: option alibi has no ONNX graph. Export a model without it.',
    );
    expect(refusal(() => exportOnnx(odd({ normalization: 'batchNorm' }), path, { ctx }))).toMatch(
      /normalization "batchNorm" has no ONNX graph/,
    );
    model.dispose();
  });

  it('a path that cannot be written, and a limit that no file can have', () => {
    const model = modelOf(small);
    for (const bad of [join(folder, 'nowhere', 'm.onnx'), folder])
      expect(refusal(() => exportOnnx(model, bad, { ctx }))).toMatch(
        /^UNWRITABLE exportOnnx: ".*" cannot be written: (ENOENT: no such file or directory|it is a folder)\. Give a file in a/,
      );
    expect(refusal(() => exportOnnx(model, path, { ctx, externalDataAbove: 3e9 }))).toBe(
      'INVALID_OPTION exportOnnx: externalDataAbove is 3000000000. Use a number of bytes from 0 to 2000000000.',
    );
    expect(readdirSync(folder).filter((name) => /tmp|refused/.test(name))).toEqual([]);
    model.dispose();
  });
});
