import { type AnyTensor, type DType, dtypeCode, engine, inCategory, type Placement, Tensor } from '@megatron-ts/tensor';

/** Memory for what an operation brings, not filled yet; it counts as communication for as long as it lives. */
export function received(
  shape: readonly number[],
  { dtype, placement }: { readonly dtype: DType; readonly placement: Placement },
): AnyTensor {
  const count = shape.reduce((product, extent) => product * extent, 1);
  const handle = inCategory('communication', () => engine.empty(dtypeCode(dtype), count));
  return new Tensor(handle, { shape: [...shape], dtype, placement });
}
