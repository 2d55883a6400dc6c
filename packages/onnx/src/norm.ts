import type { Graph, Value } from './graph.ts';

/** Where the parameters of a norm are, and what is added to the variance. */
export interface NormNames {
  /** Path of the norm. */
  readonly path: string;
  /** Added to the variance. */
  readonly eps: number;
}

/** Layer norm over the last dim. */
export function layerNorm(graph: Graph, x: Value, { path, eps }: NormNames): Value {
  const operands = [x, graph.weight(`${path}.weight`), graph.weight(`${path}.bias`)];
  return graph.node('LayerNormalization', operands, { axis: -1, epsilon: { float: eps } });
}

/** `x / sqrt(mean(x²) + eps) · weight` over the last dim. */
export function rmsNorm(graph: Graph, x: Value, { path, eps }: NormNames): Value {
  const meanSquare = graph.node('ReduceMean', [graph.node('Mul', [x, x]), graph.ints([-1])], { keepdims: 1 });
  const scale = graph.node('Sqrt', [graph.node('Add', [meanSquare, graph.float(eps)])]);
  return graph.node('Mul', [graph.node('Div', [x, scale]), graph.weight(`${path}.weight`)]);
}
