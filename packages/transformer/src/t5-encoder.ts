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
  /** Layers of this stage, by their number in the stack. */
  readonly layers: Map<number, TransformerLayer<SP>>;
  /** The last norm, on the stage that holds the last layer. */
  readonly finalNorm: RMSNorm | undefined;
  private readonly layerOptions: DecoderLayerOptions<SP>;
  private readonly blocks: readonly LayerBlock[];

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: T5StackOptions<SP>) {
    super();
    const { numLayers, layer, norm, buckets, layers = Array.from({ length: numLayers }, (_, number) => number) } = options;
    this.relativeBias = new RelativePositionBias({ ...buckets, bidirectional: true });
    const made = () => new TransformerLayer<SP>({ ...layer, causal: false });
    this.layers = new Map(layers.map((number) => [number, made()]));
    this.finalNorm = this.layers.has(numLayers - 1) ? new RMSNorm(norm) : undefined;
    this.layerOptions = layer;
    this.blocks = options.blocks ?? layerBlocks('T5Encoder', layers.length, undefined);
  }

  /** Embedded tokens `[s, b, h]` of a sequence of `length` s, or what the stage before made of them, to the same shape. */
  override forward(x: Tensor<Residual<SP>>, length: number, segments?: AnyTensor): Tensor<Residual<SP>> {
    const { hiddenDropout: p = 0 } = this.layerOptions;
    const firstToken = firstTokenOf(x, this.layerOptions);
    const first: AnyTensor = this.layers.has(0) ? dropout(x, { p, site: 'embedding', firstToken }) : x; // [s, b, h]
    const bias = this.relativeBias.call(length, length); // [a / t, s, s]
    const hidden = throughLayers({ layers: this.layers.values(), blocks: this.blocks }, first, { bias, segments }); // [s, b, h]
    if (this.finalNorm === undefined) return hidden;
    return dropout(this.finalNorm.call(hidden as Tensor<Residual<SP>>), { p, site: 'finalNorm', firstToken }); // [s, b, h]
  }
}
