import type { AnyTensor } from '../tensor.ts';
import { combined, wholeOver } from './combine.ts';
import {
  type AxisPlacement,
  described,
  type MeshLayout,
  misplaced,
  over,
  overAxes,
  type Placed,
  placed,
  placedIf,
  summand,
} from './mesh-layout.ts';

/** Tensors of an attention: queries `[sq, b, a · d]` or all heads, keys and values `[sk, b, 2 g · d]`, and a bias `[a, sq, sk]`. */
export interface AttendedTensors {
  /** Queries, or all heads. */
  readonly q: AnyTensor;
  /** Keys and values of another sequence. */
  readonly kv?: AnyTensor | undefined;
}

/**
 * Where the result of an attention lives: cut by heads or by samples where queries, keys and values are cut alike.
 * @throws ConfigError WRONG_PLACEMENT for summands, and for a sequence that is cut
 */
export function attendedLayout(op: string, { q, kv }: AttendedTensors, bias: AnyTensor | undefined): MeshLayout | undefined {
  const queries = combined(op, q.shape, { factors: [placed(q)] });
  const keys = placedIf(kv);
  for (const operand of [queries, ...keys])
    for (const [axis, placement] of Object.entries(operand.layout ?? {}))
      if (placement.kind === 'sharded' && placement.dim === 0)
        throw misplaced(
          op,
          `${described(axis, operand)} is a part of the sequence, but every query needs all keys. Gather it over ${axis} before the heads are made.`,
        );
  const flat = keys.map(({ layout }) => ({ shape: [1, q.shape[1] ?? 1, q.shape[2] ?? 1], layout }));
  const scores = bias === undefined ? [] : [overHeads(op, placed(bias), queries)];
  return combined(op, q.shape, { factors: [queries, ...flat, ...scores] }).layout;
}

/** A bias as if its heads were the last dim of the queries: cut as they are, or read by all. */
function overHeads(op: string, bias: Placed, queries: Placed): Placed {
  const layout = overAxes([bias, queries], (axis): AxisPlacement | undefined => {
    const [own, of] = [over(axis, bias), over(axis, queries)];
    if (own?.kind === 'sharded') return { ...own, dim: own.dim === 0 ? 2 : own.dim };
    if (own?.kind === 'replicated' && of?.kind === 'sharded' && of.dim === 2)
      throw misplaced(
        op,
        `bias ${described(axis, bias)} goes with other heads than ${described(axis, queries)}. Give each rank the bias of its heads.`,
      );
    return own;
  });
  return { shape: [1, 1, queries.shape[2] ?? 1], layout: bias.layout === undefined ? undefined : layout };
}

/** Tensors of the backward of an attention. */
export interface AttentionGradientParts extends AttendedTensors {
  /** Gradient of the result. */
  readonly grad: AnyTensor;
  /** The tensor whose gradient was made. */
  readonly input: AnyTensor;
  /** The bias, whose gradient sums over the batch. */
  readonly bias: AnyTensor | undefined;
}

/** Where the gradient of one of its inputs lives. */
export function attentionGradient(op: string, { grad, q, input, bias }: AttentionGradientParts): MeshLayout | undefined {
  const [of, arrived] = [placed(input), placed(grad)];
  return overAxes([of, arrived, placed(q)], (axis): AxisPlacement | undefined => {
    const [own, given] = [over(axis, of), over(axis, arrived)];
    if (given?.kind === 'partial') return given;
    if (own?.kind === 'sharded') return own;
    if (input === bias && given?.kind === 'sharded' && given.dim === 1) return summand(op);
    return wholeOver(axis, [of, arrived]);
  });
}
