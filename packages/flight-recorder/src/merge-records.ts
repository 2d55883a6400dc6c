/** The records of one world, side by side. */
import { ConfigError } from '@megatron-ts/errors';
import { type FlightRecord, isPointToPoint, type RecordedGroup, type RecordedOperation } from './flight-record.ts';
import { ranksText } from './operation-text.ts';

/** What a rank's record holds of one group, oldest first. */
export interface MemberOperations {
  /** Collectives: sequences follow each other. */
  readonly collectives: readonly RecordedOperation[];
  /** Exchanges, sends and receives. */
  readonly pointToPoint: readonly RecordedOperation[];
}

/** One group as all its members recorded it. */
export interface MergedGroup {
  /** Axis or purpose. */
  readonly name: string;
  /** World ranks; the position is the group rank. */
  readonly ranks: readonly number[];
  /** How many groups of this name and these ranks were opened before it. */
  readonly instance: number;
  /** By world rank: members whose record names the group. */
  readonly members: ReadonlyMap<number, MemberOperations>;
}

/** The records of one world. */
export interface MergedRecords {
  /** Name of the job. */
  readonly job: string;
  /** Ranks of the world. */
  readonly worldSize: number;
  /** By rank, in the order of ranks. */
  readonly records: ReadonlyMap<number, FlightRecord>;
  /** World ranks without a record. */
  readonly missing: readonly number[];
  /** Groups, with what their members did. */
  readonly groups: readonly MergedGroup[];
  /** For each rank its groups by the id that its record gives them. */
  readonly groupsOfRank: ReadonlyMap<number, ReadonlyMap<number, MergedGroup>>;
}

/**
 * Puts the records of one world side by side, in any order; ranks may be missing.
 * @throws ConfigError MISSING_OPTION without records, CONTRADICTION when jobs or world sizes differ or a rank has two records
 */
export function mergeRecords(records: readonly FlightRecord[]): MergedRecords {
  const first = records[0];
  if (first === undefined) throw new ConfigError('MISSING_OPTION', 'mergeRecords: there are no records. Pass one per rank.');
  const byRank = new Map<number, FlightRecord>();
  for (const record of [...records].sort((a, b) => a.rank - b.rank)) {
    checkSameWorld(first, record);
    if (byRank.has(record.rank)) throw contradiction(`two records are of rank ${record.rank}. Keep those of one run.`);
    byRank.set(record.rank, record);
  }
  const groups = new Map<string, MergedGroup & { readonly members: Map<number, MemberOperations> }>();
  const groupsOfRank = new Map<number, Map<number, MergedGroup>>();
  for (const [rank, record] of byRank) {
    const ofRank = new Map<number, MergedGroup>();
    for (const recorded of record.groups) {
      const key = groupKey(recorded);
      const { name, ranks, instance } = recorded;
      const group = groups.get(key) ?? { name, ranks, instance, members: new Map<number, MemberOperations>() };
      groups.set(key, group);
      ofRank.set(recorded.id, group);
      const own = record.operations.filter((operation) => operation.group === recorded.id);
      const pointToPoint = own.filter(({ kind }) => isPointToPoint(kind));
      if (ranks.includes(rank)) group.members.set(rank, { collectives: own.filter(({ kind }) => !isPointToPoint(kind)), pointToPoint });
    }
    groupsOfRank.set(rank, ofRank);
  }
  const missing = Array.from({ length: first.worldSize }, (_, rank) => rank).filter((rank) => !byRank.has(rank));
  return { job: first.job, worldSize: first.worldSize, records: byRank, missing, groups: [...groups.values()], groupsOfRank };
}

/** What makes groups of different records the same group. */
export function groupKey({ name, ranks, instance }: Omit<RecordedGroup, 'id'>): string {
  return `${instance} ${ranks.join(',')} ${name}`;
}

/** @throws ConfigError CONTRADICTION when the two are not of one world */
export function checkSameWorld(a: FlightRecord, b: FlightRecord): void {
  if (a.job !== b.job) {
    throw contradiction(`rank ${a.rank} recorded job ${a.job} and rank ${b.rank} job ${b.job}. Keep the records of one run.`);
  }
  if (a.worldSize === b.worldSize) return;
  const sizes = `rank ${a.rank} recorded a world of ${a.worldSize} and rank ${b.rank} one of ${b.worldSize}`;
  throw contradiction(`${sizes}. Keep the records of one run.`);
}

function contradiction(sentence: string): ConfigError {
  return new ConfigError('CONTRADICTION', `flight records: ${sentence}`);
}

/** The operation of this sequence, if the list still holds it. */
export function operationAt(operations: readonly RecordedOperation[], sequence: number): RecordedOperation | undefined {
  return operations[sequence - (operations[0]?.sequence ?? 0)];
}

/** `group tp (ranks 0, 1)` */
export function describeGroup({ name, ranks }: Pick<MergedGroup, 'name' | 'ranks'>): string {
  return `group ${name} (${ranksText(ranks)})`;
}
