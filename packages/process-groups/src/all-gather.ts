import { type AnyTensor, engine, placeCollective } from '@megatron-ts/tensor';
import { checkCall } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { receivedRows } from './received.ts';
import { rowsBrought, type UnevenOptions } from './rows-of-ranks.ts';
import { Work } from './work.ts';

/**
 * The ranks' tensors one after another along dim 0: `[n, …]` becomes `[n · size, …]`, or `[sum of rows, …]`.
 * @throws ShapeError SHAPE_MISMATCH when dim 0 is not what `rows` says; WRONG_RANK for a scalar
 * @throws ProcessGroupError NOT_A_MEMBER
 */
export function allGather(t: AnyTensor, options: UnevenOptions): Work<AnyTensor> {
  const { group, timeoutMs } = options;
  checkCall('allGather', options);
  const { all, counts } = rowsBrought('allGather', t.shape, options);
  if (group.size === 1) return new Work('allGather', t);
  const out = receivedRows(all, t);
  placeCollective(out, t, { op: 'allGather', axis: group.name });
  const id = engine.allGather(group.id, t.handle, out.handle, counts, labelOf(options));
  return new Work('allGather', out, { id, timeoutMs });
}
