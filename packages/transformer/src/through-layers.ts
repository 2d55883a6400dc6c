import { type AnyTensor, recompute } from '@megatron-ts/tensor';
import type { AttentionInputs } from './parallel-attention.ts';
import type { LayerBlock } from './recompute-plan.ts';
import type { TransformerLayer } from './transformer-layer.ts';

/** Layers of a chunk, and how they fall into blocks. */
export interface LayerStack<L> {
  /** In the order in which they run. */
  readonly layers: Iterable<L>;
  /** Their blocks, one after another. */
  readonly blocks: readonly LayerBlock[];
}

/** Layers, and how one of them is run. */
export interface RunLayers<L, T> extends LayerStack<L> {
  /** `hidden` through one layer, with what all are told. */
  readonly run: (layer: L, hidden: AnyTensor, told: T) => AnyTensor;
}

/**
 * `hidden` `[s, b, h]` through all layers, to the same shape. Of blocks that backward runs again, their input and the tensors in `told` are
 * kept alone.
 */
export function throughBlocks<L, T>({ layers, blocks, run }: RunLayers<L, T>, hidden: AnyTensor, told: T): AnyTensor {
  const left = [...layers];
  return blocks.reduce((x: AnyTensor, { count, isRecomputed }) => {
    const block = left.splice(0, count);
    const through = (y: AnyTensor, given: T): AnyTensor => block.reduce((z: AnyTensor, layer) => run(layer, z, given), y);
    return isRecomputed ? recompute(through, [x, told]) : through(x, told); // [s, b, h]
  }, hidden);
}

/** `throughBlocks` for layers of self-attention. */
export function throughLayers<SP extends boolean>(
  stack: LayerStack<TransformerLayer<SP>>,
  hidden: AnyTensor,
  inputs: AttentionInputs = {},
): AnyTensor {
  return throughBlocks({ ...stack, run: (layer, x, told: AttentionInputs) => layer.call(x, told) }, hidden, inputs);
}
