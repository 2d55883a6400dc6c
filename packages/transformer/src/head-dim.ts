import { ConfigError } from '@megatron-ts/errors';

/** Sizes that say how wide a head is. */
export interface HeadSizes {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /** Features of a head; hiddenSize / numAttentionHeads by default. */
  readonly headDim?: number | undefined;
}

/** Features of a head of `layer`. @throws ConfigError INDIVISIBLE */
export function headDimOf(layer: string, { hiddenSize, numAttentionHeads, headDim = hiddenSize / numAttentionHeads }: HeadSizes): number {
  if (Number.isInteger(headDim) && headDim >= 1) return headDim;
  const padded = Math.ceil(hiddenSize / numAttentionHeads) * numAttentionHeads;
  const sentence =
    `${layer}: hiddenSize ${hiddenSize} is not divisible by numAttentionHeads ${numAttentionHeads}. `
    + `Use hiddenSize ${padded}, or another number of heads.`;
  throw new ConfigError('INDIVISIBLE', sentence, { fields: { hiddenSize, numAttentionHeads } });
}
