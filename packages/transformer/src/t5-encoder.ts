import { type AnyTensor, dropout, Module, type Tensor } from '@megatron-ts/tensor';
import type { Residual } from '@megatron-ts/tensor-parallel';
import type { DecoderLayerOptions } from './decoder-layer.ts';
import { firstTokenOf } from './first-token.ts';
import { type LayerBlock, layerBlocks } from './recompute-plan.ts';
import { RelativePositionBias } from './relative-position-bias.ts';
import { RMSNorm } from './rms-norm.ts';
import type { T5StackOptions } from './t5-sizes.ts';
import { throughLayers } from './through-layers.ts';
import { TransformerLayer } from './transformer-layer.ts';

/** The encoder of a T5 model: every token sees all others, and distances have biases that all layers share. */
export class T5Encoder<SP extends boolean = false> extends Module {
  /** Biases of the scores of all layers. */
  readonly relativeBias: RelativePositionBias;
  /** Layers by their number. */
  readonly layers: Map<number, TransformerLayer<SP>>;
  /** The last norm. */
  readonly finalNorm: RMSNorm;
  private readonly layerOptions: DecoderLayerOptions<SP>;
  private readonly blocks: readonly LayerBlock[];

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor({ numLayers, layer, norm, buckets, blocks = layerBlocks('T5Encoder', numLayers, undefined) }: T5StackOptions<SP>) {
    super();
    this.relativeBias = new RelativePositionBias({ ...buckets, bidirectional: true });
    const made = () => new TransformerLayer<SP>({ ...layer, causal: false });
    this.layers = new Map(Array.from({ length: numLayers }, (_, number) => [number, made()]));
    this.finalNorm = new RMSNorm(norm);
    this.layerOptions = layer;
    this.blocks = blocks;
  }

  /** Embedded tokens `[s, b, h]` of a sequence of `length` s, to the same shape. */
  override forward(x: Tensor<Residual<SP>>, length: number, segments?: AnyTensor): Tensor<Residual<SP>> {
    const { hiddenDropout: p = 0 } = this.layerOptions;
    const firstToken = firstTokenOf(x, this.layerOptions);
    const dropped: AnyTensor = dropout(x, { p, site: 'embedding', firstToken }); // [s, b, h]
    const bias = this.relativeBias.call(length, length); // [a / t, s, s]
    const hidden = throughLayers({ layers: this.layers.values(), blocks: this.blocks }, dropped, { bias, segments }); // [s, b, h]
    return dropout(this.finalNorm.call(hidden), { p, site: 'finalNorm', firstToken }); // [s, b, h]
  }
}
