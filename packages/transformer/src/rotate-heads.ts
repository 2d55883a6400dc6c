import { type AnyTensor, cat, embedding, mul, reshape, slice, sub, add, type Tensor, to, type Whole } from '@megatron-ts/tensor';
import type { LocalHeads } from './head-norm.ts';

/** How queries and keys are turned. */
export interface HeadRotation extends LocalHeads {
  /** Cosines, then sines of all positions: `[positions, dim]`. */
  readonly table: Tensor;
  /** Whether a pair is two neighbours. */
  readonly interleaved: boolean;
  /** Position of each token (i32) `[s, b]`; its row by default. */
  readonly positions?: AnyTensor | undefined;
}

/** Turns queries and keys of `qkv` `[s, b, (a + 2g) · d]`; values stay as they are. Angles and products are f32. */
export function rotateHeads<P extends Whole>(qkv: Tensor<P>, rotation: HeadRotation): Tensor<P> {
  const { table, positions, numHeads, numKeyValueHeads, headDim } = rotation;
  const [seq = 0, batch = 0, width = 0] = qkv.shape;
  const [dim = 0] = table.shape.slice(1);
  const turned = (numHeads + numKeyValueHeads) * headDim;
  const heads: AnyTensor = to(reshape(slice(qkv, -1, { start: 0, end: turned }), [seq, batch, -1, headDim]), 'f32'); // [s, b, a + g, d]
  const angles: AnyTensor =
    positions === undefined ? reshape(table, [seq, 1, 1, dim]) : reshape(embedding(table, positions), [seq, batch, 1, dim]);
  const cos = slice(angles, -1, { start: 0, end: dim / 2 }); // [s, b or 1, 1, dim / 2]
  const sin = slice(angles, -1, { start: dim / 2, end: dim });
  const [first, second] = pairsOf(heads, dim, rotation.interleaved); // [s, b, a + g, dim / 2] each
  const [x, y] = [sub(mul(first, cos), mul(second, sin)), add(mul(second, cos), mul(first, sin))];
  const whole = rotation.interleaved
    ? reshape(cat([reshape(x, [...x.shape, 1]), reshape(y, [...y.shape, 1])], -1), [seq, batch, -1, dim])
    : cat([x, y], -1); // [s, b, a + g, dim]
  const all = dim === headDim ? whole : cat([whole, slice(heads, -1, { start: dim, end: headDim })], -1); // [s, b, a + g, d]
  const values = slice(qkv, -1, { start: turned, end: width }); // [s, b, g · d]
  return cat([to(reshape(all, [seq, batch, turned]), qkv.dtype), values as AnyTensor], -1) as AnyTensor; // [s, b, (a + 2g) · d]
}

function pairsOf(heads: AnyTensor, dim: number, interleaved: boolean): readonly [AnyTensor, AnyTensor] {
  if (!interleaved) return [slice(heads, -1, { start: 0, end: dim / 2 }), slice(heads, -1, { start: dim / 2, end: dim })];
  const [seq = 0, batch = 0, count = 0] = heads.shape;
  const pairs = reshape(slice(heads, -1, { start: 0, end: dim }), [seq, batch, count, dim / 2, 2]);
  const of = (side: number) => reshape(slice(pairs, -1, { start: side, end: side + 1 }), [seq, batch, count, dim / 2]);
  return [of(0), of(1)];
}
