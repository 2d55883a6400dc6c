import { type AnyTensor, engine, forgetUniform, placeCollective } from '@megatron-ts/tensor';
import { reduceCode, type ReductionOptions } from './collective-options.ts';
import { checkCall } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { Work } from './work.ts';

/** Reduces `t` over the group, in place: afterwards it is the same on every rank. @throws ProcessGroupError NOT_A_MEMBER */
export function allReduce<T extends AnyTensor>(t: T, options: ReductionOptions): Work<T> {
  const { group, timeoutMs } = options;
  checkCall('allReduce', options);
  if (group.size === 1) return new Work('allReduce', t);
  forgetUniform(t);
  placeCollective(t, t, { op: 'allReduce', axis: group.name, reduction: options.op });
  return new Work('allReduce', t, { id: engine.allReduce(group.id, t.handle, reduceCode(options), labelOf(options)), timeoutMs });
}
