import { ShapeError } from '@megatron-ts/errors';
import { type AnyTensor, type DType, engine } from '@megatron-ts/tensor';
import { checkCall, requireMember } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { receivedRows } from './received.ts';
import { rowsTaken, type UnevenOptions } from './rows-of-ranks.ts';
import { Work } from './work.ts';

/** Whose rows are shared out, and how many each rank gets. */
export interface ScatterOptions extends UnevenOptions {
  /** Rank in the group whose tensor is shared out; 0 by default. */
  readonly root?: number;
  /** Shape of the root's tensor; needed on the other ranks. */
  readonly shape?: readonly number[];
  /** Dtype of the root's tensor; needed on the other ranks when it is not f32. */
  readonly dtype?: DType;
}

/**
 * Shares out dim 0 of the root's `t`: `[n, …]` becomes `[n / size, …]`, or `[rows of this rank, …]`. The other ranks pass undefined, and
 * the shape.
 * @throws ShapeError SHAPE_MISMATCH when dim 0 does not divide or is not what `rows` says, or no shape is known; WRONG_RANK for a scalar
 * @throws ProcessGroupError NOT_A_MEMBER
 */
export function scatter(t: AnyTensor | undefined, options: ScatterOptions): Work<AnyTensor> {
  const { group, root = 0, timeoutMs } = options;
  checkCall('scatter', options);
  requireMember('scatter', group, root);
  const whole = wholeOf(t, options);
  const { own, counts } = rowsTaken('scatter', whole.shape, options);
  if (group.size === 1 && t !== undefined) return new Work('scatter', t);
  const out = receivedRows(own, whole);
  const source = group.rank === root ? t?.handle : undefined;
  const id = engine.scatter(group.id, source ?? 0, out.handle, root, counts, labelOf(options));
  return new Work('scatter', out, { id, timeoutMs });
}

type Form = Pick<AnyTensor, 'shape' | 'dtype' | 'placement'>;

/** What is shared out, as far as this rank knows it. */
function wholeOf(t: AnyTensor | undefined, { group, root = 0, shape, dtype = 'f32' }: ScatterOptions): Form {
  if (t !== undefined) return t;
  if (group.rank !== root && shape !== undefined) return { shape, dtype, placement: 'replicated' };
  const sentence =
    group.rank === root
      ? `rank ${root} is the root and brings no tensor. Pass the one to share out.`
      : `rank ${group.rank} brings no tensor and no shape. Pass the shape of the root's tensor.`;
  throw new ShapeError('SHAPE_MISMATCH', `scatter on group ${group.name}: ${sentence}`);
}
