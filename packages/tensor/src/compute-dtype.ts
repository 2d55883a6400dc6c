import { ConfigError } from '@megatron-ts/errors';
import type { DType } from './dtype.ts';
import { where } from './where-in-model.ts';

/** What products are computed in; sums of products are f32 either way. */
export type ComputeDType = 'f32' | 'bf16';

/** Options of an operation that multiplies matrices. */
export interface ComputeOptions {
  /** `'bf16'` rounds the operands of each product on the way into it, and no copy is kept; by default the dtype that they are stored in. */
  readonly computeDType?: ComputeDType | undefined;
}

/** The engine's number for what `op` computes its products in. @throws ConfigError INVALID_OPTION */
export function computeCode(op: string, stored: DType, { computeDType = stored === 'bf16' ? 'bf16' : 'f32' }: ComputeOptions): 0 | 1 {
  if (computeDType === 'f32') return 0;
  if (computeDType === 'bf16') return 1;
  throw new ConfigError('INVALID_OPTION', `${where(op)}: computeDType is "${String(computeDType)}". Use "f32" or "bf16".`);
}
