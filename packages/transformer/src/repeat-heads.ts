import { type AnyTensor, cat, expand, reshape, slice, type Tensor, type Whole } from '@megatron-ts/tensor';
import type { LocalHeads } from './head-norm.ts';

/** A key and a value for each query, from `qkv` `[s, b, (a + 2g) · d]`: `[s, b, 3 · a · d]`. */
export function repeatHeads<P extends Whole>(qkv: Tensor<P>, { numHeads, numKeyValueHeads, headDim }: LocalHeads): Tensor<P> {
  if (numHeads === numKeyValueHeads) return qkv;
  const [seq = 0, batch = 0] = qkv.shape;
  const [queries, keys] = [numHeads * headDim, numKeyValueHeads * headDim];
  const repeated = (start: number): AnyTensor => {
    const heads = reshape(slice(qkv, -1, { start, end: start + keys }), [seq, batch, numKeyValueHeads, 1, headDim]);
    return reshape(expand(heads, [seq, batch, numKeyValueHeads, numHeads / numKeyValueHeads, headDim]), [seq, batch, queries]);
  };
  const query: AnyTensor = slice(qkv, -1, { start: 0, end: queries });
  return cat([query, repeated(queries), repeated(queries + keys)], -1) as AnyTensor; // [s, b, 3 · a · d]
}
