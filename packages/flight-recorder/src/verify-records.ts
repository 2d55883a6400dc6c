/** The proof, from the records of a whole run, that its ranks can never hang. */
import { ConfigError } from '@megatron-ts/errors';
import { collectiveProblems, messageProblems } from './check-calls.ts';
import { type FlightRecord, isPointToPoint, type RecordedOperation } from './flight-record.ts';
import { checkSameWorld } from './merge-records.ts';
import { describeOperation, ranksText } from './operation-text.ts';
import { circleProblem } from './replay.ts';
import { WorldPrograms } from './world-programs.ts';

/** What a verification found. */
export interface Verification {
  /** Whether there are no problems. */
  readonly ok: boolean;
  /** What is wrong and what to change, one sentence each. */
  readonly problems: readonly string[];
  /** Operations of all ranks. */
  readonly operations: number;
  /** Groups on which something was called. */
  readonly groups: number;
}

/**
 * Proves that all members of every group call the same collectives, that every message has its other end, in order and of the same
 * dtype and size, that nothing waits in a circle even where nothing is buffered, and that every operation is waited for. Circles are
 * looked for once all calls match. Records are taken one after the other and not held: those of a large world may be made as they are
 * needed.
 */
export class RecordVerifier {
  private first: FlightRecord | undefined = undefined;
  private programs = new WorldPrograms(0);
  private readonly seen = new Set<number>();
  private readonly problems: string[] = [];
  private readonly remarks: string[] = [];

  /**
   * Takes the complete record of one rank: no operation dropped.
   * @throws ConfigError CONTRADICTION when jobs or world sizes differ or a rank has two records
   */
  add(record: FlightRecord): this {
    if (this.first === undefined) {
      this.first = { ...record, operations: [] };
      this.programs = new WorldPrograms(record.worldSize);
    }
    checkSameWorld(this.first, record);
    if (this.seen.has(record.rank))
      throw new ConfigError('CONTRADICTION', `verifyRecords: two records are of rank ${record.rank}. Pass those of one run.`);
    this.seen.add(record.rank);
    this.programs.add(record);
    this.problems.push(...incompleteness(record));
    this.remarks.push(...forgottenWaits(record));
    return this;
  }

  /** The verdict on all records that were added. @throws ConfigError MISSING_OPTION without records */
  verify(): Verification {
    const { first, programs, seen } = this;
    if (first === undefined) throw new ConfigError('MISSING_OPTION', 'verifyRecords: there are no records. Pass one per rank.');
    const problems = [...this.problems];
    const missing = Array.from({ length: first.worldSize }, (_, rank) => rank).filter((rank) => !seen.has(rank));
    if (missing.length > 0) problems.push(`there is no record of ${ranksText(missing)}. Pass the records of all ranks.`);
    if (problems.length === 0) problems.push(...collectiveProblems(programs), ...messageProblems(programs));
    const circle = problems.length === 0 ? circleProblem(programs) : undefined;
    if (circle !== undefined) problems.push(circle);
    problems.push(...this.remarks);
    return { ok: problems.length === 0, problems, operations: programs.numOperations, groups: programs.groups.length };
  }
}

/**
 * `RecordVerifier` over records that are there already.
 * @param records - of all ranks of the world, complete
 * @throws ConfigError MISSING_OPTION without records, CONTRADICTION when jobs or world sizes differ or a rank has two records
 */
export function verifyRecords(records: Iterable<FlightRecord>): Verification {
  const verifier = new RecordVerifier();
  for (const record of records) verifier.add(record);
  return verifier.verify();
}

/** Why a record cannot be part of a proof. */
function incompleteness({ rank, dropped, operations, groups }: FlightRecord): string[] {
  if (dropped > 0) return [`rank ${rank} has lost the first ${dropped} operations of its record. Record with room for all of them.`];
  const begun = new Set<string>();
  const begins = (operation: RecordedOperation): boolean => {
    const stream = `${operation.group} ${isPointToPoint(operation.kind)}`;
    return !begun.has(stream) && begun.add(stream) && operation.sequence !== 1;
  };
  const late = operations.find(begins);
  if (late === undefined) return [];
  const group = groups.find(({ id }) => id === late.group)?.name;
  return [`the record of rank ${rank} begins with ${describeOperation(late)} on group ${group}. Record from the first operation on.`];
}

function forgottenWaits({ rank, operations, groups }: FlightRecord): string[] {
  const forgotten = operations.filter(({ waited }) => waited === null);
  const [first] = forgotten;
  if (first === undefined) return [];
  const group = groups.find(({ id }) => id === first.group)?.name;
  const more = forgotten.length === 1 ? '' : ` and ${forgotten.length - 1} more`;
  return [`rank ${rank} never waits for ${describeOperation(first)} on group ${group}${more}. Wait for every operation.`];
}
