import type { Graph, Value } from './graph.ts';
import { linear } from './linear.ts';

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
  /** Features of one head. */
  readonly headSize: number;
  /** Sizes of the batch. */
  readonly sizes: BatchSizes;
  /** Which keys each query sees. */
  readonly visible: Value;
}

/** Multi-head self-attention with its projections, `[batch · sequence, h]` to the same shape. */
export function selfAttention(graph: Graph, x: Value, names: SelfAttentionNames): Value {
  const { path, bias, numHeads, headSize, sizes } = names;
  const byHead = graph.node('Concat', [sizes.tokensShape, graph.ints([numHeads, headSize])], { axis: 0 });
  const heads = (part: string, perm: readonly number[]) => {
    const flat = linear(graph, x, { path: `${path}.qkv`, part, bias }); // [batch · sequence, h]
    return graph.node('Transpose', [graph.node('Reshape', [flat, byHead])], { perm });
  };
  const query = heads('q', [0, 2, 1, 3]); // [batch, heads, sequence, d]
  const key = heads('k', [0, 2, 3, 1]); // [batch, heads, d, sequence]
  const value = heads('v', [0, 2, 1, 3]); // [batch, heads, sequence, d]
  const context = graph.node('MatMul', [probabilities(graph, [query, key], names), value]); // [batch, heads, sequence, d]
  const inOrder = graph.node('Transpose', [context], { perm: [0, 2, 1, 3] }); // [batch, sequence, heads, d]
  const flat = graph.node('Reshape', [inOrder, graph.ints([-1, numHeads * headSize])]); // [batch · sequence, h]
  return linear(graph, flat, { path: `${path}.projection`, bias });
}

/** softmax(scale · query · key) over the keys that are seen. */
function probabilities(graph: Graph, [query, key]: readonly [Value, Value], { headSize, visible }: SelfAttentionNames): Value {
  const products = graph.node('MatMul', [query, key]); // [batch, heads, sequence, sequence]
  const scores = graph.node('Mul', [products, graph.float(1 / Math.sqrt(headSize))]);
  const seen = graph.node('Where', [visible, scores, graph.float(-Infinity)]);
  return graph.node('Softmax', [seen], { axis: -1 });
}
