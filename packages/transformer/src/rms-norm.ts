import { type Addends, addRmsNorm, Module, Parameter, rmsNorm, type SumAndNorm, type Tensor, type Whole } from '@megatron-ts/tensor';
import { replicatedMeta, requireDTypes, requireSizes } from '@megatron-ts/tensor-parallel';
import type { LayerNormModuleOptions } from './layer-norm.ts';
import { normAgain } from './norm-again.ts';

/** `x / sqrt(mean(x²) + eps) · weight` over the last dim, wherever `x` lives. @source Zhang and Sennrich 2019, equation 4 */
export class RMSNorm extends Module {
  /** Scale, `[h]`. */
  readonly weight: Parameter;
  private readonly eps: number;
  private readonly recompute: boolean;

  /** @throws ConfigError INVALID_OPTION */
  constructor({ hiddenSize, eps = 1e-5, sequenceParallel, paramDType: dtype, recompute = false }: LayerNormModuleOptions) {
    super();
    requireSizes('RMSNorm', { hiddenSize });
    requireDTypes('RMSNorm', { paramDType: dtype });
    const meta = replicatedMeta([hiddenSize], sequenceParallel);
    this.weight = new Parameter({ shape: [hiddenSize], dtype, init: { kind: 'ones' }, meta });
    this.eps = eps;
    this.recompute = recompute;
  }

  /** `x` `[…, h]` to the same shape. */
  override forward<P extends Whole>(x: Tensor<P>): Tensor<P>;
  /** The sum of `x` and the addends, and its norm, in one pass. */
  override forward<P extends Whole>(x: Tensor<P>, addends: Addends<P>): SumAndNorm<P>;
  override forward<P extends Whole>(x: Tensor<P>, addends?: Addends<P>): Tensor<P> | SumAndNorm<P> {
    const { weight, eps, recompute } = this;
    const norm = (y: Tensor<P>) => rmsNorm(y, { weight, eps });
    if (addends === undefined) return normAgain(norm(x), { recompute, norm, of: x });
    const { sum, normed } = addRmsNorm(x, { weight, eps, ...addends });
    return { sum, normed: normAgain(normed, { recompute, norm, of: sum }) };
  }
}
