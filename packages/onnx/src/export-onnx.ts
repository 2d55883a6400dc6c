import { create } from '@bufbuild/protobuf';
import { ConfigError, gatherWhole, GPTModel, type ParallelContext, type Parameter } from '@megatron-ts/core';
import {
  type ModelProto,
  ModelProtoSchema,
  type TensorProto,
  TensorProto_DataType as DataType,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './generated/onnx_pb.ts';
import { gptGraph, logitsName, tokensName } from './gpt-graph.ts';
import type { Graph } from './graph.ts';
import { ModelFile } from './model-file.ts';

// The first with GELU; ONNX 1.15 of 2023, ONNX Runtime 1.17 and later.
const opset = 20;
const irVersion = 9;
// What one protobuf message can hold, less room for the graph.
const largestMessage = 2e9;

/** A model that can be written; LlamaModel is one. */
export type ExportableModel = GPTModel | GPTModel<true>;

/** Options of an export. */
export interface ExportOnnxOptions {
  /** The mesh that holds the model; all its ranks call. */
  readonly ctx: ParallelContext;
  /**
   * Bytes of weights up to which they stand in the model's file; more go to a file of their own beside it, `<model>.<hash>.data`. 256 MiB by
   * default, at most 2e9.
   */
  readonly externalDataAbove?: number;
}

/**
 * Writes a GPT or Llama model as one ONNX graph (opset 20), however it is sharded: `tokens` (int64) `[batch, sequence]`, both of any size,
 * to `logits` (float) `[batch, sequence, vocabSize]`. Weights have the names and shapes they have in the model on one rank, parts of a
 * stacked weight (q, k, v; gate, up) one by one; all are float, also those of a bf16 model, and so is all arithmetic. Dropout is left out.
 *
 * All ranks of the context call it; rank 0 alone writes, on its machine. One weight at a time is put together. The model appears under its
 * name when all of it is written, and what goes wrong on one rank is thrown on all.
 * @param model - this rank's model; where a stage has several chunks, the list of them
 * @throws ConfigError INVALID_OPTION, NOT_INITIALIZED; CheckpointError UNWRITABLE, INCOMPLETE
 */
export function exportOnnx(model: ExportableModel | readonly ExportableModel[], path: string, options: ExportOnnxOptions): void {
  const { ctx, externalDataAbove = 2 ** 28 } = options;
  if (!(externalDataAbove >= 0 && externalDataAbove <= largestMessage)) throw outOfRange(externalDataAbove);
  const chunks = Array.isArray(model) ? (model as readonly ExportableModel[]) : [model as ExportableModel];
  const [first] = chunks;
  const stranger = chunks.find((chunk) => !(chunk instanceof GPTModel));
  if (first === undefined || stranger !== undefined) throw notAModel(stranger);
  const graph = gptGraph(first.config);
  const parameters = new Map(chunks.flatMap((chunk): [string, Parameter][] => [...chunk.namedParameters()]));
  const modelOf = (weights: TensorProto[]) => modelProto(graph, { weights, vocabSize: first.config.vocabSize });
  gatherWhole(parameters, { ctx, sink: new ModelFile({ path, externalDataAbove, weights: graph.weights, modelOf }) });
}

function modelProto(graph: Graph, { weights, vocabSize }: { readonly weights: TensorProto[]; readonly vocabSize: number }): ModelProto {
  return create(ModelProtoSchema, {
    irVersion: BigInt(irVersion),
    producerName: 'megatron-ts',
    opsetImport: [{ domain: '', version: BigInt(opset) }],
    graph: {
      name: 'GPTModel',
      node: graph.nodes,
      initializer: [...graph.constantTensors, ...weights],
      input: [valueInfo(tokensName, DataType.INT64, ['batch', 'sequence'])],
      output: [valueInfo(logitsName, DataType.FLOAT, ['batch', 'sequence', vocabSize])],
    },
  });
}

function valueInfo(name: string, elemType: DataType, extents: readonly (number | string)[]): ValueInfoProto {
  const dim = extents.map((extent) => ({
    value: typeof extent === 'string' ? { case: 'dimParam' as const, value: extent } : { case: 'dimValue' as const, value: BigInt(extent) },
  }));
  return create(ValueInfoProtoSchema, { name, type: { value: { case: 'tensorType', value: { elemType, shape: { dim } } } } });
}

function outOfRange(externalDataAbove: number): ConfigError {
  const sentence = `exportOnnx: externalDataAbove is ${externalDataAbove}. Use a number of bytes from 0 to ${largestMessage}.`;
  return new ConfigError('INVALID_OPTION', sentence, { fields: { externalDataAbove } });
}

function notAModel(given: unknown): ConfigError {
  const what = given instanceof Object ? `a ${given.constructor.name}` : given === undefined ? 'an empty list' : String(given);
  const sentence = `exportOnnx: ${what} is no model that can be written. Give a GPTModel, or the list of its chunks on this rank.`;
  return new ConfigError('INVALID_OPTION', sentence);
}
