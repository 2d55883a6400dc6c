import { ConfigError, type ResolvedGPTConfig } from '@megatron-ts/core';
import { type BatchSizes, causalVisibility, selfAttention } from './attention.ts';
import { Graph, type Value } from './graph.ts';
import { gatedMLP, gelu, mlp, type MLPNames, silu } from './mlp.ts';
import { layerNorm, type NormNames, rmsNorm } from './norm.ts';

/** Name of the tokens that go into a graph. */
export const tokensName = 'tokens';
/** Name of the logits that come out. */
export const logitsName = 'logits';

type NormWriter = (graph: Graph, x: Value, names: NormNames) => Value;
type MLPWriter = (graph: Graph, x: Value, names: Omit<MLPNames, 'f'>) => Value;

const norms = new Map<string, NormWriter>([
  ['layerNorm', layerNorm],
  ['rmsNorm', rmsNorm],
]);

const mlps = new Map<string, MLPWriter>([
  ['gelu', (graph, x, names) => mlp(graph, x, { ...names, f: gelu })],
  ['swiglu', (graph, x, names) => gatedMLP(graph, x, { ...names, f: silu })],
  ['geglu', (graph, x, names) => gatedMLP(graph, x, { ...names, f: gelu })],
]);

/**
 * The forward of a GPT model without dropout: `tokens` (int64) `[batch, sequence]` to `logits` `[batch, sequence, vocabSize]`. In between,
 * the residual stream is `[batch · sequence, h]`.
 * @throws ConfigError INVALID_OPTION for a norm or an activation that has no graph
 */
export function gptGraph(config: ResolvedGPTConfig): Graph {
  const { hiddenSize, numLayers, numAttentionHeads, vocabSize, tieWordEmbeddings, bias, layerNormEps: eps, window } = config;
  const norm = writerOf(norms, 'normalization', config.normalization);
  const feedForward = writerOf(mlps, 'activation', config.activation);
  const graph = new Graph();
  const sizes = batchSizes(graph);
  const visible = graph.within('mask', () => causalVisibility(graph, sizes, window));
  let stream = graph.within('embedding', () => embed(graph, sizes, hiddenSize)); // [batch · sequence, h]
  for (let layer = 0; layer < numLayers; layer++) {
    const at = (name: string) => `layers.${layer}.${name}`;
    const added = (block: string, f: (normed: Value, path: string) => Value) =>
      graph.within(at(block), () => graph.node('Add', [stream, f(norm(graph, stream, { path: at(`${block}Norm`), eps }), at(block))]));
    const heads = { numHeads: numAttentionHeads, headSize: hiddenSize / numAttentionHeads };
    stream = added('attention', (x, path) => selfAttention(graph, x, { path, bias, ...heads, sizes, visible }));
    stream = added('mlp', (x, path) => feedForward(graph, x, { path, bias }));
  }
  const normed = graph.within('finalNorm', () => norm(graph, stream, { path: 'finalNorm', eps }));
  const headWeight = graph.weight(tieWordEmbeddings ? 'embedding.wordEmbeddings.weight' : 'head.weight');
  graph.within('head', () => {
    const flat = graph.node('Gemm', [normed, headWeight], { transB: 1 }); // [batch · sequence, v]
    const shape = graph.node('Concat', [sizes.tokensShape, graph.ints([vocabSize])], { axis: 0 });
    graph.rename(graph.node('Reshape', [flat, shape]), logitsName); // [batch, sequence, v]
  });
  return graph;
}

function batchSizes(graph: Graph): BatchSizes {
  return graph.within(tokensName, () => {
    const tokensShape = graph.node('Shape', [tokensName]);
    const sequence = graph.node('Gather', [tokensShape, graph.int(1)]);
    return { tokensShape, positions: graph.node('Range', [graph.int(0), sequence, graph.int(1)]) };
  });
}

function embed(graph: Graph, { positions }: BatchSizes, hiddenSize: number): Value {
  const words = graph.node('Gather', [graph.weight('embedding.wordEmbeddings.weight'), tokensName]); // [batch, sequence, h]
  const places = graph.node('Gather', [graph.weight('embedding.positionEmbeddings.weight'), positions]); // [sequence, h]
  return graph.node('Reshape', [graph.node('Add', [words, places]), graph.ints([-1, hiddenSize])]);
}

function writerOf<W>(writers: ReadonlyMap<string, W>, option: string, chosen: string): W {
  const writer = writers.get(chosen);
  if (writer !== undefined) return writer;
  throw new ConfigError(
    'INVALID_OPTION',
    `exportOnnx: ${option} "${chosen}" has no ONNX graph. Export a model with ${[...writers.keys()].join(', ')}.`,
    { fields: { [option]: chosen } },
  );
}
