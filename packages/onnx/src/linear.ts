import type { Graph, Value } from './graph.ts';

/** The weight and, where there is one, the bias of a linear layer, or of one of the tensors that lie in it. */
export interface LinearNames {
  /** Path of the layer. */
  readonly path: string;
  /** Which of its tensors, such as `q`; the only one by default. */
  readonly part?: string;
  /** Whether it has a bias. */
  readonly bias: boolean;
}

/** `x · weightᵀ + bias`: `x` `[n, in]`, weight `[out, in]` as it is trained, to `[n, out]`. */
export function linear(graph: Graph, x: Value, { path, part, bias }: LinearNames): Value {
  const end = part === undefined ? '' : `.${part}`;
  const operands = [x, graph.weight(`${path}.weight${end}`), ...(bias ? [graph.weight(`${path}.bias${end}`)] : [])];
  return graph.node('Gemm', operands, { transB: 1 });
}
