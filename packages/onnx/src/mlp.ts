import type { Graph, Value } from './graph.ts';
import { linear, type LinearNames } from './linear.ts';

/** GELU, tanh form. */
export function gelu(graph: Graph, x: Value): Value {
  return graph.node('Gelu', [x], { approximate: 'tanh' });
}

/** GELU, exact. */
export function geluErf(graph: Graph, x: Value): Value {
  return graph.node('Gelu', [x], { approximate: 'none' });
}

/** `x · sigmoid(x)`. */
export function silu(graph: Graph, x: Value): Value {
  return graph.node('Mul', [x, graph.node('Sigmoid', [x])]);
}

/** The positive part. */
export function relu(graph: Graph, x: Value): Value {
  return graph.node('Relu', [x]);
}

/** The square of the positive part. */
export function squaredRelu(graph: Graph, x: Value): Value {
  const positive = relu(graph, x);
  return graph.node('Mul', [positive, positive]);
}

/** `down(f(up(x)))`. */
export function mlp(graph: Graph, x: Value, { path, bias, f }: MLPNames): Value {
  const inside = f(graph, linear(graph, x, { path: `${path}.up`, bias }));
  return linear(graph, inside, { path: `${path}.down`, bias });
}

/** `down(f(gate(x)) · up(x))`. */
export function gatedMLP(graph: Graph, x: Value, { path, bias, f }: MLPNames): Value {
  const wide = (part: string) => linear(graph, x, { path: `${path}.up`, part, bias });
  const inside = graph.node('Mul', [f(graph, wide('gate')), wide('up')]);
  return linear(graph, inside, { path: `${path}.down`, bias });
}

/** Where the layers of an MLP are, and what stands between them. */
export interface MLPNames extends Omit<LinearNames, 'part'> {
  /** The activation. */
  readonly f: (graph: Graph, x: Value) => Value;
}
