import { RotaryAngles, type RotaryOptions } from '@megatron-ts/core';
import type { Graph, Value } from './graph.ts';

/** Angles of a rotation at the positions of the batch. */
export interface Rotation {
  /** Cosines, `[sequence, 1, dim / 2]`. */
  readonly cos: Value;
  /** Sines, `[sequence, 1, dim / 2]`. */
  readonly sin: Value;
  /** Features of a head that are turned. */
  readonly dim: number;
  /** Whether a pair is two neighbours. */
  readonly interleaved: boolean;
}

/** Where angles come from. */
export interface RotationOptions {
  /** How heads are turned. */
  readonly rotary: RotaryOptions;
  /** Features of a head. */
  readonly headDim: number;
  /** Most positions. */
  readonly maxSequenceLength: number;
  /** Positions of the batch, a value of the graph. */
  readonly positions: Value;
}

/** The model's own table of angles as a constant, and its rows at the positions of the batch. */
export function rotation(graph: Graph, { rotary, headDim, maxSequenceLength, positions }: RotationOptions): Rotation {
  const angles = new RotaryAngles(headDim, rotary);
  const { dim, interleaved } = angles;
  const table = angles.table(maxSequenceLength);
  const all = graph.floats('rotary.angles', table.toArray(), [maxSequenceLength, dim]); // cosines, then sines
  table.dispose();
  const rows = graph.node('Unsqueeze', [graph.node('Gather', [all, positions]), graph.ints([1])]); // [sequence, 1, dim]
  const half = (start: number) => lastDim(graph, rows, { start, end: start + dim / 2 });
  return { cos: half(0), sin: half(dim / 2), dim, interleaved };
}

/** Turns heads, `[batch, sequence, heads, d]` to the same shape. */
export function rotateHeads(graph: Graph, heads: Value, { cos, sin, dim, interleaved }: Rotation): Value {
  const first = lastDim(graph, heads, interleaved ? { start: 0, end: dim, step: 2 } : { start: 0, end: dim / 2 });
  const second = lastDim(graph, heads, interleaved ? { start: 1, end: dim, step: 2 } : { start: dim / 2, end: dim });
  const product = (x: Value, y: Value) => graph.node('Mul', [x, y]);
  const x = graph.node('Sub', [product(first, cos), product(second, sin)]);
  const y = graph.node('Add', [product(second, cos), product(first, sin)]);
  const rest = lastDim(graph, heads, { start: dim, end: 2 ** 31 - 1 }); // those beyond dim, which may be none
  return graph.node('Concat', [...(interleaved ? [neighbours(graph, [x, y], dim)] : [x, y]), rest], { axis: -1 });
}

/** The features of x and of y in turns. */
function neighbours(graph: Graph, pair: readonly [Value, Value], dim: number): Value {
  const columns = pair.map((value) => graph.node('Unsqueeze', [value, graph.ints([-1])]));
  return graph.node('Reshape', [graph.node('Concat', columns, { axis: -1 }), graph.ints([0, 0, 0, dim])]); // 0 keeps an extent
}

interface LastDimRange {
  readonly start: number;
  readonly end: number;
  readonly step?: number;
}

function lastDim(graph: Graph, x: Value, { start, end, step = 1 }: LastDimRange): Value {
  return graph.node('Slice', [x, graph.ints([start]), graph.ints([end]), graph.ints([-1]), graph.ints([step])]);
}
