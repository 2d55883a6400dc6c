import { LayerNorm, type LayerNormModuleOptions } from './layer-norm.ts';
import { RMSNorm } from './rms-norm.ts';

/** Which norm a model uses. */
export type Normalization = 'layerNorm' | 'rmsNorm';

/** A norm of that kind. @throws ConfigError INVALID_OPTION */
export function makeNorm(kind: Normalization, options: LayerNormModuleOptions): LayerNorm | RMSNorm {
  return kind === 'rmsNorm' ? new RMSNorm(options) : new LayerNorm(options);
}
