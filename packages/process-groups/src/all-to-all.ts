import { ShapeError } from '@megatron-ts/errors';
import { type AnyTensor, engine, formatShape } from '@megatron-ts/tensor';
import type { CollectiveOptions } from './collective-options.ts';
import { checkCall } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { receivedRows } from './received.ts';
import { countsOf, firstExtent, isRowList, sum } from './rows-of-ranks.ts';
import { Work } from './work.ts';

/** How many rows go where. */
export interface AllToAllOptions extends CollectiveOptions {
  /** Rows of dim 0 for each rank; even by default. */
  readonly sendRows?: readonly number[];
  /** Rows of dim 0 from each rank; even by default. */
  readonly receiveRows?: readonly number[];
}

/**
 * Sends each rank its rows of dim 0 and returns what came, in rank order.
 * @throws ShapeError SHAPE_MISMATCH when the rows do not add up or do not divide; WRONG_RANK for a scalar
 * @throws ProcessGroupError NOT_A_MEMBER
 */
export function allToAll(t: AnyTensor, options: AllToAllOptions): Work<AnyTensor> {
  const { group, timeoutMs } = options;
  checkCall('allToAll', options);
  const { sendRows, receiveRows } = rowsOf(t, options);
  if (group.size === 1) return new Work('allToAll', t);
  const out = receivedRows(sum(receiveRows), t);
  const [sent, taken] = [countsOf(sendRows, t.shape), countsOf(receiveRows, t.shape)];
  const id = engine.allToAll(group.id, t.handle, out.handle, sent, taken, labelOf(options));
  return new Work('allToAll', out, { id, timeoutMs });
}

function rowsOf(t: AnyTensor, options: AllToAllOptions): Required<Pick<AllToAllOptions, 'sendRows' | 'receiveRows'>> {
  const { group } = options;
  const rows = firstExtent('allToAll', group, t.shape);
  const share = () => Array.from({ length: group.size }, () => rows / group.size);
  const { sendRows = share(), receiveRows = share() } = options;
  if (isRowList(sendRows, group.size) && isRowList(receiveRows, group.size) && sum(sendRows) === rows) return { sendRows, receiveRows };
  throw new ShapeError(
    'SHAPE_MISMATCH',
    `allToAll on group ${group.name}: sendRows [${sendRows.join(', ')}] and receiveRows [${receiveRows.join(', ')}] do not split dim 0 of ${formatShape(t.shape)} over ${group.size} ranks. Give one whole number per rank, adding up to ${rows}.`,
  );
}
