import { type AnyTensor, dropout, Module, type Tensor } from '@megatron-ts/tensor';
import type { Residual } from '@megatron-ts/tensor-parallel';
import { type DecoderInputs, DecoderLayer, type DecoderLayerOptions } from './decoder-layer.ts';
import { firstTokenOf } from './first-token.ts';
import type { CrossAttentionInputs } from './parallel-cross-attention.ts';
import { type LayerBlock, layerBlocks } from './recompute-plan.ts';
import { RelativePositionBias } from './relative-position-bias.ts';
import { RMSNorm } from './rms-norm.ts';
import type { T5StackOptions } from './t5-sizes.ts';
import { throughBlocks } from './through-layers.ts';

/** What the decoder of a T5 model is told besides its own tokens. */
export interface T5DecoderInputs<SP extends boolean = false> extends CrossAttentionInputs {
  /** What the encoder made: `[se, b, h]`. */
  readonly memory: Tensor<Residual<SP>>;
  /** Tokens of its own whole sequence. */
  readonly length: number;
}

/** The decoder of a T5 model: a token sees those before it and all of the encoder's; distances among its own have biases. */
export class T5Decoder<SP extends boolean = false> extends Module {
  /** Biases of the scores of all self-attentions. */
  readonly relativeBias: RelativePositionBias;
  /** Layers by their number. */
  readonly layers: Map<number, DecoderLayer<SP>>;
  /** The last norm. */
  readonly finalNorm: RMSNorm;
  private readonly layerOptions: DecoderLayerOptions<SP>;
  private readonly blocks: readonly LayerBlock[];

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor({ numLayers, layer, norm, buckets, blocks = layerBlocks('T5Decoder', numLayers, undefined) }: T5StackOptions<SP>) {
    super();
    this.relativeBias = new RelativePositionBias({ ...buckets, bidirectional: false });
    this.layers = new Map(Array.from({ length: numLayers }, (_, number) => [number, new DecoderLayer<SP>(layer)]));
    this.finalNorm = new RMSNorm(norm);
    this.layerOptions = layer;
    this.blocks = blocks;
  }

  /** Embedded tokens `[s, b, h]` to the same shape. */
  override forward(x: Tensor<Residual<SP>>, { memory, length, ...segments }: T5DecoderInputs<SP>): Tensor<Residual<SP>> {
    const { hiddenDropout: p = 0 } = this.layerOptions;
    const firstToken = firstTokenOf(x, this.layerOptions);
    const dropped: AnyTensor = dropout(x, { p, site: 'embedding', firstToken }); // [s, b, h]
    const bias = this.relativeBias.call(length, length); // [a / t, s, s]
    const hidden = throughBlocks({ layers: this.layers.values(), blocks: this.blocks, run }, dropped, { memory, bias, ...segments }); // [s, b, h]
    return dropout(this.finalNorm.call(hidden), { p, site: 'finalNorm', firstToken }); // [s, b, h]
  }
}

/** What the layers of a decoder are all told. */
interface Told extends DecoderInputs {
  readonly memory: AnyTensor;
}

function run(layer: DecoderLayer<boolean>, hidden: AnyTensor, { memory, ...inputs }: Told): AnyTensor {
  return layer.call(hidden, memory, inputs); // [s, b, h]
}
