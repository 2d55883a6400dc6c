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
  /** Layers of this stage, by their number in the stack. */
  readonly layers: Map<number, DecoderLayer<SP>>;
  /** The last norm, on the stage that holds the last layer. */
  readonly finalNorm: RMSNorm | undefined;
  private readonly layerOptions: DecoderLayerOptions<SP>;
  private readonly blocks: readonly LayerBlock[];

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: T5StackOptions<SP>) {
    super();
    const { numLayers, layer, norm, buckets, layers = Array.from({ length: numLayers }, (_, number) => number) } = options;
    this.relativeBias = new RelativePositionBias({ ...buckets, bidirectional: false });
    this.layers = new Map(layers.map((number) => [number, new DecoderLayer<SP>(layer)]));
    this.finalNorm = this.layers.has(numLayers - 1) ? new RMSNorm(norm) : undefined;
    this.layerOptions = layer;
    this.blocks = options.blocks ?? layerBlocks('T5Decoder', layers.length, undefined);
  }

  /** Embedded tokens `[s, b, h]`, or what the stage before made of them, to the same shape. */
  override forward(x: Tensor<Residual<SP>>, { memory, length, ...segments }: T5DecoderInputs<SP>): Tensor<Residual<SP>> {
    const { hiddenDropout: p = 0 } = this.layerOptions;
    const firstToken = firstTokenOf(x, this.layerOptions);
    const first: AnyTensor = this.layers.has(0) ? dropout(x, { p, site: 'embedding', firstToken }) : x; // [s, b, h]
    const bias = this.relativeBias.call(length, length); // [a / t, s, s]
    const stack = { layers: this.layers.values(), blocks: this.blocks, run };
    const hidden = throughBlocks(stack, first, { memory, bias, ...segments }); // [s, b, h]
    if (this.finalNorm === undefined) return hidden;
    return dropout(this.finalNorm.call(hidden as Tensor<Residual<SP>>), { p, site: 'finalNorm', firstToken }); // [s, b, h]
  }
}

/** What the layers of a decoder are all told. */
interface Told extends DecoderInputs {
  readonly memory: AnyTensor;
}

function run(layer: DecoderLayer<boolean>, hidden: AnyTensor, { memory, ...inputs }: Told): AnyTensor {
  return layer.call(hidden, memory, inputs); // [s, b, h]
}
