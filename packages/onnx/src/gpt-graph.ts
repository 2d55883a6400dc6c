import { ConfigError, type ResolvedGPTConfig } from '@megatron-ts/core';
import { type BatchSizes, causalVisibility, selfAttention } from './attention.ts';
import { Graph, type Value } from './graph.ts';
import { gatedMLP, gelu, geluErf, mlp, type MLPNames, relu, silu, squaredRelu } from './mlp.ts';
import { layerNorm, type NormNames, rmsNorm } from './norm.ts';
import { rotation } from './rotary.ts';

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
  ['geluErf', (graph, x, names) => mlp(graph, x, { ...names, f: geluErf })],
  ['relu', (graph, x, names) => mlp(graph, x, { ...names, f: relu })],
  ['squaredRelu', (graph, x, names) => mlp(graph, x, { ...names, f: squaredRelu })],
  ['swiglu', (graph, x, names) => gatedMLP(graph, x, { ...names, f: silu })],
  ['geglu', (graph, x, names) => gatedMLP(graph, x, { ...names, f: gelu })],
]);

/** Options that the graph is made from. */
const written = [
  'vocabSize maxSequenceLength hiddenSize numLayers numAttentionHeads numKeyValueHeads headDim rotary qkNorm',
  'ffnHiddenSize tieWordEmbeddings window activation normalization bias layerNormEps',
];
/** Options that say nothing of the forward in float: those of training, of layouts, of rounding. */
const idle = [
  'initStd fusedLoss hiddenDropout attentionDropout labelSmoothing zLoss ignoreIndex recompute',
  'sequenceParallel vocabMultiple paramDType computeDType',
];
const known = new Set([...written, ...idle].flatMap((names) => names.split(' ')));

/**
 * The forward of a GPT model without dropout: `tokens` (int64) `[batch, sequence]` to `logits` `[batch, sequence, vocabSize]`. In between,
 * the residual stream is `[batch · sequence, h]`.
 * @throws ConfigError INVALID_OPTION for an option, a norm or an activation that has no graph
 */
export function gptGraph(config: ResolvedGPTConfig): Graph {
  const { numLayers, vocabSize, tieWordEmbeddings, bias, layerNormEps: eps } = config;
  requireKnown(config);
  const norm = writerOf(norms, 'normalization', config.normalization);
  const feedForward = writerOf(mlps, 'activation', config.activation);
  const graph = new Graph();
  const sizes = batchSizes(graph);
  const attention = { bias, sizes, ...sharedByLayers(graph, sizes, config) };
  let stream = graph.within('embedding', () => embed(graph, sizes, config)); // [batch · sequence, h]
  for (let layer = 0; layer < numLayers; layer++) {
    const at = (name: string) => `layers.${layer}.${name}`;
    const added = (block: string, f: (normed: Value, path: string) => Value) =>
      graph.within(at(block), () => graph.node('Add', [stream, f(norm(graph, stream, { path: at(`${block}Norm`), eps }), at(block))]));
    stream = added('attention', (x, path) => selfAttention(graph, x, { path, ...attention }));
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

/** What all layers' attention has in common. */
function sharedByLayers(graph: Graph, sizes: BatchSizes, config: ResolvedGPTConfig) {
  const { numAttentionHeads: numHeads, numKeyValueHeads, headDim, rotary, qkNorm, layerNormEps, window, maxSequenceLength } = config;
  const visible = graph.within('mask', () => causalVisibility(graph, sizes, window));
  const turning = { headDim, maxSequenceLength, positions: sizes.positions };
  const angles = rotary === undefined ? undefined : graph.within('rotary', () => rotation(graph, { rotary, ...turning }));
  return { numHeads, numKeyValueHeads, headDim, visible, rotation: angles, headNormEps: qkNorm ? layerNormEps : undefined };
}

function batchSizes(graph: Graph): BatchSizes {
  return graph.within(tokensName, () => {
    const tokensShape = graph.node('Shape', [tokensName]);
    const sequence = graph.node('Gather', [tokensShape, graph.int(1)]);
    return { tokensShape, positions: graph.node('Range', [graph.int(0), sequence, graph.int(1)]) };
  });
}

function embed(graph: Graph, { positions }: BatchSizes, { hiddenSize, rotary }: ResolvedGPTConfig): Value {
  const words = graph.node('Gather', [graph.weight('embedding.wordEmbeddings.weight'), tokensName]); // [batch, sequence, h]
  const flat = (x: Value) => graph.node('Reshape', [x, graph.ints([-1, hiddenSize])]);
  if (rotary !== undefined) return flat(words);
  const places = graph.node('Gather', [graph.weight('embedding.positionEmbeddings.weight'), positions]); // [sequence, h]
  return flat(graph.node('Add', [words, places]));
}

/** A graph that leaves an option out would give other logits in silence. */
function requireKnown(config: ResolvedGPTConfig): void {
  for (const [option, value] of Object.entries(config))
    if (value !== undefined && !known.has(option))
      throw new ConfigError('INVALID_OPTION', `exportOnnx: option ${option} has no ONNX graph. Export a model without it.`, {
        fields: { [option]: value as unknown },
      });
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
