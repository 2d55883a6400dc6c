import { ConfigError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { expand, gather, type InitRule, Module, Parameter, reshape, type Tensor, tensor, to, transpose } from '@megatron-ts/tensor';
import {
  divideOverRanks,
  type HiddenShard,
  type ParamDType,
  requireDTypes,
  shardedMeta,
  shardPlacement,
} from '@megatron-ts/tensor-parallel';

/** How distances between a query and a key fall into buckets. */
export interface RelativeBuckets {
  /** Number of buckets; 32 by default. */
  readonly numBuckets?: number | undefined;
  /** Distance from which on all fall into the last bucket; 128 by default. */
  readonly maxDistance?: number | undefined;
  /** Whether keys behind the query have buckets of their own, half of all; those of a causal attention have none. */
  readonly bidirectional: boolean;
}

/** Options of a bias of scores by distance. */
export interface RelativePositionBiasOptions extends RelativeBuckets {
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /** Ranks that share the heads. */
  readonly tpGroup: ProcessGroup;
  /** How it is filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** What it is stored in; f32 by default. */
  readonly paramDType?: ParamDType | undefined;
  /** Group over which copies sum their gradients, such as the stages that hold one; none by default. */
  readonly sharedOver?: string | undefined;
  /** Whether this copy counts in norms and is stored; true by default. */
  readonly isPrimary?: boolean;
}

/**
 * Bucket of a key at `distance` = key - query: one for each short distance, then as many whose width grows by a factor, and one for all
 * from `maxDistance` on.
 * @source Raffel et al. 2020, section 2.1, and the code published with it
 */
export function relativeBucket(distance: number, { numBuckets = 32, maxDistance = 128, bidirectional }: RelativeBuckets): number {
  const buckets = bidirectional ? numBuckets / 2 : numBuckets;
  const first = bidirectional && distance > 0 ? buckets : 0;
  const away = bidirectional ? Math.abs(distance) : Math.max(-distance, 0);
  const exact = Math.floor(buckets / 2);
  if (away < exact) return first + away;
  const share = Math.log2(away / exact) / Math.log2(maxDistance / exact);
  return first + Math.min(exact + Math.floor(share * (buckets - exact)), buckets - 1);
}

/**
 * What the attentions of a stack add to their scores: a learned number for each head and bucket of distances, with the heads cut over the
 * ranks.
 * @source Raffel et al. 2020, section 2.1
 */
export class RelativePositionBias extends Module {
  /** `[numBuckets, a / t]`. */
  readonly weight: Parameter<HiddenShard>;
  private readonly buckets: RelativeBuckets;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: RelativePositionBiasOptions) {
    super();
    const { numAttentionHeads, tpGroup, init = { kind: 'normal', std: 0.02 }, paramDType: dtype, ...rest } = options;
    const { sharedOver, isPrimary = true, ...buckets } = rest;
    const { numBuckets = 32 } = buckets;
    const layer = 'RelativePositionBias';
    requireDTypes(layer, { paramDType: dtype });
    requireBuckets(layer, buckets);
    const heads = divideOverRanks({ layer, option: 'numAttentionHeads', size: numAttentionHeads, tpGroup });
    const meta = { ...shardedMeta({ globalShape: [numBuckets, numAttentionHeads], dim: 1, tpGroup }), sharedOver, isPrimary };
    this.weight = new Parameter({ shape: [numBuckets, heads], dtype, init, placement: shardPlacement('hidden', tpGroup), meta });
    this.buckets = buckets;
  }

  /** For `queries` and `keys` that both begin at position 0: f32 `[a / t, queries, keys]`. */
  override forward(queries: number, keys: number): Tensor<HiddenShard> {
    const [, heads = 0] = this.weight.shape;
    const of = Int32Array.from({ length: queries * keys }, (_, i) => {
      const query = Math.floor(i / keys);
      return relativeBucket(i - query * keys - query, this.buckets);
    });
    const index = expand(tensor(of, [1, queries * keys]), [heads, queries * keys]); // [a / t, queries · keys]
    const byHead = transpose(to(this.weight, 'f32'), 0, 1); // [a / t, numBuckets]
    return reshape(gather(byHead, 1, index), [heads, queries, keys]); // [a / t, queries, keys]
  }
}

/** @throws ConfigError INVALID_OPTION */
function requireBuckets(layer: string, { numBuckets = 32, maxDistance = 128, bidirectional }: RelativeBuckets): void {
  const step = bidirectional ? 4 : 2;
  if (!(Number.isInteger(numBuckets) && numBuckets >= step && numBuckets % step === 0))
    throw new ConfigError('INVALID_OPTION', `${layer}: numBuckets is ${numBuckets}. Use a multiple of ${step}, such as 32.`);
  const exact = numBuckets / step;
  if (!(maxDistance > exact))
    throw new ConfigError(
      'INVALID_OPTION',
      `${layer}: maxDistance is ${maxDistance}, but ${exact} distances have buckets of their own. Use a number above ${exact}.`,
    );
}
