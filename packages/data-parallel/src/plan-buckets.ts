/** Where a parameter's gradient lies in a bucket. */
export interface BucketSlot {
  /** Position in the list of parameters. */
  readonly index: number;
  /** First element in the bucket. */
  readonly offset: number;
}

/** One flat buffer of gradients, reduced as a whole. */
export interface BucketPlan {
  /** Elements of the buffer. */
  readonly numel: number;
  /** What lies in it, front to back. */
  readonly slots: readonly BucketSlot[];
}

/**
 * Deals parameters to buckets in reverse order, since backward finishes the last ones first. A bucket closes when it has reached
 * `bucketElements`.
 * @param numels - elements of each parameter, in forward order
 * @source Megatron-core, `param_and_grad_buffer.py`
 */
export function planBuckets(numels: readonly number[], bucketElements: number): readonly BucketPlan[] {
  const buckets: BucketPlan[] = [];
  let slots: BucketSlot[] = [];
  let numel = 0;
  for (const [index, own] of [...numels.entries()].reverse()) {
    slots.push({ index, offset: numel });
    numel += own;
    if (numel < bucketElements && index > 0) continue;
    buckets.push({ numel, slots });
    slots = [];
    numel = 0;
  }
  return buckets;
}
