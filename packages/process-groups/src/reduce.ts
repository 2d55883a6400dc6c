import { type AnyTensor, engine, forgetUniform } from '@megatron-ts/tensor';
import { reduceCode, type ReductionOptions } from './collective-options.ts';
import { checkCall, requireMember } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { Work } from './work.ts';

/** Which rank gets the result. */
export interface RootedReductionOptions extends ReductionOptions {
  /** Rank in the group that gets the result; 0 by default. */
  readonly root?: number;
}

/** Reduces over the group into the root's `t`; the others' tensors keep their values. @throws ProcessGroupError NOT_A_MEMBER */
export function reduce<T extends AnyTensor>(t: T, options: RootedReductionOptions): Work<T> {
  const { group, root = 0, timeoutMs } = options;
  checkCall('reduce', options);
  requireMember('reduce', group, root);
  if (group.size === 1) return new Work('reduce', t);
  forgetUniform(t);
  return new Work('reduce', t, { id: engine.reduceToRoot(group.id, t.handle, reduceCode(options), root, labelOf(options)), timeoutMs });
}
