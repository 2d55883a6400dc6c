import { ConfigError } from '@megatron-ts/errors';
import type { LogicalTensor, Parameter } from '@megatron-ts/tensor';

/**
 * Holds what each rank has of a part stacked in a weight against the whole part: where all ranks together have it more than once, each
 * copy has a summand of the gradient, and `copies` must say so.
 * @throws ConfigError UNREDUCED_PARAMETER, before anything is sent
 */
export function requireSummedCopies(parameters: readonly Parameter[], tensorModelParallelSize: number): void {
  for (const { name, meta } of parameters) {
    const { shardedOver } = meta;
    if (shardedOver.length !== 1 || shardedOver[0] !== 'tp') continue;
    for (const logical of meta.logical) {
      const { suffix, copies = 1 } = logical;
      if (suffix === '') continue; // what stands alone may be cut unevenly, as a small vocabulary is; stacked parts are cut evenly
      const held = (heldElements(logical) * tensorModelParallelSize) / elements(logical.globalShape);
      if (held <= copies) continue;
      const path = `${name}.${suffix}`;
      const sentence = `finalizeGrads: ${held} of ${tensorModelParallelSize} tensor-parallel ranks hold the same part of "${path}", and ${
        copies === 1 ? 'nobody sums its gradient' : `only ${copies} of them sum its gradient`
      }. Set copies to ${held} in its meta, as ParallelAttention does for key and value heads fewer than ranks.`;
      throw new ConfigError('UNREDUCED_PARAMETER', sentence, { fields: { parameter: path, copies, held } });
    }
  }
}

function heldElements({ rectangles }: LogicalTensor): number {
  return rectangles.reduce((sum, { extent }) => sum + elements(extent), 0);
}

function elements(extent: readonly number[]): number {
  return extent.reduce((product, size) => product * size, 1);
}
