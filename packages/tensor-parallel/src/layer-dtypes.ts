import { ConfigError } from '@megatron-ts/errors';
import type { ComputeDType } from '@megatron-ts/tensor';

/** What parameters may be stored in. */
export type ParamDType = 'f32' | 'bf16';

/** In what a layer stores and in what it multiplies. */
export interface LayerDTypes {
  /** What parameters are stored in, and the activations that follow from them; f32 by default. Their gradients are f32. */
  readonly paramDType?: ParamDType | undefined;
  /** What products are computed in, with f32 sums; by default what their operands are stored in. */
  readonly computeDType?: ComputeDType | undefined;
}

/** @throws ConfigError INVALID_OPTION for a dtype that is neither f32 nor bf16 */
export function requireDTypes(layer: string, { paramDType, computeDType }: LayerDTypes): void {
  for (const [option, dtype] of Object.entries({ paramDType, computeDType }))
    if (dtype !== undefined && dtype !== 'f32' && dtype !== 'bf16')
      throw new ConfigError('INVALID_OPTION', `${layer}: ${option} is "${String(dtype)}". Use "f32" or "bf16".`, {
        fields: { option, dtype },
      });
}
