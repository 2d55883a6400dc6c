import { type AnyTensor, type DType, dtypeCode, engine, type Placement, Tensor } from '@megatron-ts/tensor';

/** Memory for what an operation brings, not filled yet. */
export function received(
  shape: readonly number[],
  { dtype, placement }: { readonly dtype: DType; readonly placement: Placement },
): AnyTensor {
  const count = shape.reduce((product, extent) => product * extent, 1);
  return new Tensor(engine.empty(dtypeCode(dtype), count), { shape: [...shape], dtype, placement });
}
