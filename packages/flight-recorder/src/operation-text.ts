/** Operations, messages and ranks in words. */
import type { RecordedMessage, RecordedOperation } from './flight-record.ts';

/** What equals on all ranks that call the same collective, and how it is called. */
export type OperationSignature = Pick<RecordedOperation, 'kind' | 'dtype' | 'count' | 'op' | 'root'>;

/** What a description is made of. */
export type DescribedOperation = OperationSignature & Pick<RecordedOperation, 'sequence' | 'label'>;

/** Whether two ranks called the same. */
export function sameSignature(a: OperationSignature, b: OperationSignature): boolean {
  return a.kind === b.kind && a.dtype === b.dtype && a.count === b.count && a.op === b.op && a.root === b.root;
}

/** `allReduce#43 f32[1024] max (layers.1.mlp.down)`; sums are named where `namesSum`. */
export function describeOperation(operation: DescribedOperation, { namesSum = false } = {}): string {
  const { kind, sequence, dtype, count, op, root, label } = operation;
  const words = [`${kind}#${sequence}`];
  if (dtype !== null) words.push(count === 0 ? dtype : `${dtype}[${count}]`);
  if (op !== null && (op !== 'sum' || namesSum)) words.push(op);
  if (root !== null) words.push(`${kind === 'reduce' || kind === 'gather' ? 'to' : 'from'} group rank ${root}`);
  if (label !== '') words.push(`(${label})`);
  return words.join(' ');
}

/** `f32[1024]` */
export function describeMessage({ dtype, count }: Pick<RecordedMessage, 'dtype' | 'count'>): string {
  return `${dtype}[${count}]`;
}

/** `rank 3`, or `ranks 0-2, 5`; of many the first runs and how many follow. */
export function ranksText(ranks: readonly number[]): string {
  const runs: [first: number, last: number][] = [];
  for (const rank of [...ranks].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run?.[1] === rank - 1) run[1] = rank;
    else runs.push([rank, rank]);
  }
  const told = runs.slice(0, 8);
  const untold = runs.slice(8).reduce((sum, [first, last]) => sum + last - first + 1, 0);
  const list = told.map(([first, last]) => (first === last ? `${first}` : `${first}${last === first + 1 ? ', ' : '-'}${last}`)).join(', ');
  return `${ranks.length === 1 ? 'rank' : 'ranks'} ${list}${untold === 0 ? '' : ` and ${untold} more`}`;
}

/** `has` for one, `have` for several: the verb that fits `ranksText`. */
export function verb(ranks: readonly number[], singular: string, plural: string): string {
  return ranks.length === 1 ? singular : plural;
}
