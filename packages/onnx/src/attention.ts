import type { Graph, Value } from './graph.ts';
import { linear } from './linear.ts';
import { rmsNorm } from './norm.ts';
import { rotateHeads, type Rotation } from './rotary.ts';

/** The dynamic sizes of a batch, as values of the graph. */
export interface BatchSizes {
  /** `[batch, sequence]`, an int64 list. */
  readonly tokensShape: Value;
  /** `0, 1, … sequence - 1`. */
  readonly positions: Value;
}

/** Which keys each query sees, `[sequence, sequence]`: its own and those before it, at most `window` of them. */
export function causalVisibility(graph: Graph, { positions }: BatchSizes, window: number | undefined): Value {
  const query = graph.node('Unsqueeze', [positions, graph.ints([1])]); // [sequence, 1]
  const key = graph.node('Unsqueeze', [positions, graph.ints([0])]); // [1, sequence]
  const notAfter = graph.node('LessOrEqual', [key, query]);
  if (window === undefined) return notAfter;
  const distance = graph.node('Sub', [query, key]);
  return graph.node('And', [notAfter, graph.node('Less', [distance, graph.int(window)])]);
}

/** What self-attention is made of. */
export interface SelfAttentionNames {
  /** Path of the attention block. */
  readonly path: string;
  /** Whether its projections have biases. */
  readonly bias: boolean;
  /** Heads of the whole model. */
  readonly numHeads: number;
  /** Keys, and as many values, each for as many heads. */
  readonly numKeyValueHeads: number;
  /** Features of one head. */
  readonly headDim: number;
  /** What is added to the mean of squares in norms of queries and keys; no such norms where absent. */
  readonly headNormEps: number | undefined;
  /** How queries and keys are turned; not where absent. */
  readonly rotation: Rotation | undefined;
  /** Sizes of the batch. */
  readonly sizes: BatchSizes;
  /** Which keys each query sees. */
  readonly visible: Value;
}

/** Multi-head self-attention with its projections, `[batch · sequence, h]` to the same shape. */
export function selfAttention(graph: Graph, x: Value, names: SelfAttentionNames): Value {
  const { path, bias, numHeads, numKeyValueHeads, headDim, sizes } = names;
  const heads = (part: string, count: number) => {
    const flat = linear(graph, x, { path: `${path}.qkv`, part, bias }); // [batch · sequence, heads · d]
    return graph.node('Reshape', [flat, shapeByHead(graph, sizes, [count, headDim])]); // [batch, sequence, heads, d]
  };
  const query = turned(graph, normed(graph, heads('q', numHeads), { ...names, norm: 'query' }), names);
  const key = repeated(graph, turned(graph, normed(graph, heads('k', numKeyValueHeads), { ...names, norm: 'key' }), names), names);
  const value = repeated(graph, heads('v', numKeyValueHeads), names); // [batch, sequence, heads, d], as are all three
  const ordered = (tensor: Value, perm: readonly number[]) => graph.node('Transpose', [tensor], { perm });
  const seen = probabilities(graph, [ordered(query, [0, 2, 1, 3]), ordered(key, [0, 2, 3, 1])], names);
  const context = graph.node('MatMul', [seen, ordered(value, [0, 2, 1, 3])]); // [batch, heads, sequence, d]
  const flat = graph.node('Reshape', [ordered(context, [0, 2, 1, 3]), graph.ints([-1, numHeads * headDim])]);
  return linear(graph, flat, { path: `${path}.projection`, bias });
}

function shapeByHead(graph: Graph, { tokensShape }: BatchSizes, byHead: readonly number[]): Value {
  return graph.node('Concat', [tokensShape, graph.ints(byHead)], { axis: 0 });
}

function normed(graph: Graph, heads: Value, { path, headNormEps: eps, norm }: SelfAttentionNames & { readonly norm: string }): Value {
  return eps === undefined ? heads : rmsNorm(graph, heads, { path: `${path}.headNorm.${norm}`, eps });
}

function turned(graph: Graph, heads: Value, { rotation }: SelfAttentionNames): Value {
  return rotation === undefined ? heads : rotateHeads(graph, heads, rotation);
}

/** Each key or value as often as there are queries for it. */
function repeated(graph: Graph, heads: Value, { numHeads, numKeyValueHeads, headDim, sizes }: SelfAttentionNames): Value {
  if (numHeads === numKeyValueHeads) return heads;
  const alone = graph.node('Unsqueeze', [heads, graph.ints([3])]); // [batch, sequence, keys, 1, d]
  const copies = graph.node('Expand', [alone, graph.ints([1, 1, 1, numHeads / numKeyValueHeads, 1])]);
  return graph.node('Reshape', [copies, shapeByHead(graph, sizes, [numHeads, headDim])]);
}

/** softmax(scale · query · key) over the keys that are seen. */
function probabilities(graph: Graph, [query, key]: readonly [Value, Value], { headDim, visible }: SelfAttentionNames): Value {
  const products = graph.node('MatMul', [query, key]); // [batch, heads, sequence, sequence]
  const scores = graph.node('Mul', [products, graph.float(1 / Math.sqrt(headDim))]);
  const seen = graph.node('Where', [visible, scores, graph.float(-Infinity)]);
  return graph.node('Softmax', [seen], { axis: -1 });
}
