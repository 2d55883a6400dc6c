import { type AnyTensor, recompute } from '@megatron-ts/tensor';
import type { AttentionInputs } from './parallel-attention.ts';
import type { LayerBlock } from './recompute-plan.ts';
import type { TransformerLayer } from './transformer-layer.ts';

/** Layers of a chunk, and how they fall into blocks. */
export interface LayerStack<SP extends boolean> {
  /** In the order in which they run. */
  readonly layers: Iterable<TransformerLayer<SP>>;
  /** Their blocks, one after another. */
  readonly blocks: readonly LayerBlock[];
}

/** `hidden` `[s, b, h]` through all layers, to the same shape. Of blocks that backward runs again, their input alone is kept. */
export function throughLayers<SP extends boolean>(stack: LayerStack<SP>, hidden: AnyTensor, inputs: AttentionInputs = {}): AnyTensor {
  const layers = [...stack.layers];
  return stack.blocks.reduce((x: AnyTensor, { count, isRecomputed }) => {
    const block = layers.splice(0, count);
    const through = (y: AnyTensor, told: AttentionInputs): AnyTensor => block.reduce((z: AnyTensor, layer) => layer.call(z, told), y);
    return isRecomputed ? recompute(through, [x, inputs]) : through(x, inputs); // [s, b, h]
  }, hidden);
}
