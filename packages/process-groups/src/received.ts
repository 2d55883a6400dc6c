import { type AnyTensor, type DType, emptyIn, type Placement, Tensor } from '@megatron-ts/tensor';

/** What memory for a result is like. */
export interface ReceivedForm {
  /** Extents, outermost first. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
  /** Where the value lives on the mesh. */
  readonly placement: Placement;
}

/** Memory for what an operation brings, not filled yet; it counts as communication for as long as it lives. */
export function received(shape: readonly number[], { dtype, placement }: Omit<ReceivedForm, 'shape'>): AnyTensor {
  return new Tensor(emptyIn('communication', shape, dtype), { shape, dtype, placement });
}

/** The same for a tensor like `form` of so many rows. */
export function receivedRows(rows: number, form: ReceivedForm): AnyTensor {
  const shape = form.shape.slice();
  shape[0] = rows;
  return received(shape, form);
}
