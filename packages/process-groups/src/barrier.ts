import { engine } from '@megatron-ts/tensor';
import type { CollectiveOptions } from './collective-options.ts';
import { checkCall } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { Work } from './work.ts';

/** Returns on every rank only after every rank has called it. @throws ProcessGroupError NOT_A_MEMBER */
export function barrier(options: CollectiveOptions): Work<undefined> {
  const { group, timeoutMs } = options;
  checkCall('barrier', options);
  if (group.size === 1) return new Work('barrier', undefined);
  return new Work('barrier', undefined, { id: engine.barrier(group.id, labelOf(options)), timeoutMs });
}
