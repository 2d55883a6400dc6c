import { type AnyTensor, dropout, Module, type Tensor } from '@megatron-ts/tensor';
import type { Residual } from '@megatron-ts/tensor-parallel';
import { firstTokenOf } from './first-token.ts';
import { RelativePositionBias } from './relative-position-bias.ts';
import { RMSNorm } from './rms-norm.ts';
import type { T5StackOptions } from './t5-sizes.ts';
import { TransformerLayer } from './transformer-layer.ts';

/** The encoder of a T5 model: every token sees all others, and distances have biases that all layers share. */
export class T5Encoder<SP extends boolean = false> extends Module {
  /** Biases of the scores of all layers. */
  readonly relativeBias: RelativePositionBias;
  /** Layers by their number. */
  readonly layers: Map<number, TransformerLayer<SP>>;
  /** The last norm. */
  readonly finalNorm: RMSNorm;
  private readonly options: T5StackOptions<SP>;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: T5StackOptions<SP>) {
    super();
    const { numLayers, layer, norm, buckets } = options;
    this.relativeBias = new RelativePositionBias({ ...buckets, bidirectional: true });
    const made = () => new TransformerLayer<SP>({ ...layer, causal: false });
    this.layers = new Map(Array.from({ length: numLayers }, (_, number) => [number, made()]));
    this.finalNorm = new RMSNorm(norm);
    this.options = options;
  }

  /** Embedded tokens `[s, b, h]` of a sequence of `length` s, to the same shape. */
  override forward(x: Tensor<Residual<SP>>, length: number, segments?: AnyTensor): Tensor<Residual<SP>> {
    const { layout, hiddenDropout: p } = this.options;
    const firstToken = firstTokenOf(x, layout);
    let hidden = dropout(x, { p, site: 'embedding', firstToken }); // [s, b, h]
    const bias = this.relativeBias.call(length, length); // [a / t, s, s]
    for (const layer of this.layers.values()) hidden = layer.call(hidden, { bias, segments }); // [s, b, h]
    return dropout(this.finalNorm.call(hidden), { p, site: 'finalNorm', firstToken }); // [s, b, h]
  }
}
