import { type Addends, addLayerNorm, layerNorm, Module, Parameter, type SumAndNorm, type Tensor, type Whole } from '@megatron-ts/tensor';
import { type ParamDType, replicatedMeta, requireDTypes, requireSizes } from '@megatron-ts/tensor-parallel';
import { normAgain } from './norm-again.ts';

/** Options of a layer norm. */
export interface LayerNormModuleOptions {
  /** Features of the last dim. */
  readonly hiddenSize: number;
  /** Added to the variance; 1e-5 by default. */
  readonly eps?: number;
  /** Whether the input is cut along the sequence, so that the ranks' gradients are summands; false by default. */
  readonly sequenceParallel?: boolean;
  /** What the parameters are stored in, whatever the input is; f32 by default. Statistics are f32. */
  readonly paramDType?: ParamDType | undefined;
  /** Whether backward makes the result again instead of keeping it; false by default. */
  readonly recompute?: boolean;
}

/** `(x - mean) / sqrt(var + eps) · weight + bias` over the last dim, wherever `x` lives. @source Ba, Kiros and Hinton 2016, equation 4 */
export class LayerNorm extends Module {
  /** Scale, `[h]`. */
  readonly weight: Parameter;
  /** Shift, `[h]`. */
  readonly bias: Parameter;
  private readonly eps: number;
  private readonly recompute: boolean;

  /** @throws ConfigError INVALID_OPTION */
  constructor({ hiddenSize, eps = 1e-5, sequenceParallel, paramDType: dtype, recompute = false }: LayerNormModuleOptions) {
    super();
    requireSizes('LayerNorm', { hiddenSize });
    requireDTypes('LayerNorm', { paramDType: dtype });
    const meta = replicatedMeta([hiddenSize], sequenceParallel);
    this.weight = new Parameter({ shape: [hiddenSize], dtype, init: { kind: 'ones' }, meta });
    this.bias = new Parameter({ shape: [hiddenSize], dtype, meta });
    this.eps = eps;
    this.recompute = recompute;
  }

  /** `x` `[…, h]` to the same shape. */
  override forward<P extends Whole>(x: Tensor<P>): Tensor<P>;
  /** The sum of `x` and the addends, and its norm, in one pass. */
  override forward<P extends Whole>(x: Tensor<P>, addends: Addends<P>): SumAndNorm<P>;
  override forward<P extends Whole>(x: Tensor<P>, addends?: Addends<P>): Tensor<P> | SumAndNorm<P> {
    const { weight, bias, eps, recompute } = this;
    const norm = (y: Tensor<P>) => layerNorm(y, { weight, bias, eps });
    if (addends === undefined) return normAgain(norm(x), { recompute, norm, of: x });
    const { sum, normed } = addLayerNorm(x, { weight, bias, eps, ...addends });
    return { sum, normed: normAgain(normed, { recompute, norm, of: sum }) };
  }
}
