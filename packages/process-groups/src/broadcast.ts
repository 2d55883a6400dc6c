import { type AnyTensor, engine, forgetUniform, placeCollective } from '@megatron-ts/tensor';
import type { CollectiveOptions } from './collective-options.ts';
import { checkCall, requireMember } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { Work } from './work.ts';

/** Which rank's values are sent. */
export interface BroadcastOptions extends CollectiveOptions {
  /** Rank in the group; 0 by default. */
  readonly root?: number;
}

/** Copies the root's values into every rank's `t`. @throws ProcessGroupError NOT_A_MEMBER */
export function broadcast<T extends AnyTensor>(t: T, options: BroadcastOptions): Work<T> {
  const { group, root = 0, timeoutMs } = options;
  checkCall('broadcast', options);
  requireMember('broadcast', group, root);
  if (group.size === 1) return new Work('broadcast', t);
  forgetUniform(t);
  placeCollective(t, t, { op: 'broadcast', axis: group.name });
  return new Work('broadcast', t, { id: engine.broadcast(group.id, t.handle, root, labelOf(options)), timeoutMs });
}
