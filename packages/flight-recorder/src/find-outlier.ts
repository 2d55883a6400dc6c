/** Which rank is out of line, from the records of all. */
import { lateRanks, lostRanks, waitingCircle } from './absence.ts';
import { diagnosisRows, type DiagnosisRow } from './diagnosis-rows.ts';
import { disagreement, messageDisagreement } from './disagreement.ts';
import type { Finding, FindingKind } from './finding.ts';
import { isPending, type RecordedFailure } from './flight-record.ts';
import type { MergedRecords } from './merge-records.ts';
import { type MessagePair, messagePairs } from './message-pairs.ts';
import { ranksText, verb } from './operation-text.ts';
import { rankWaits } from './rank-waits.ts';
import { stragglerRemark } from './straggler.ts';

/** What the records of a world say. */
export interface Diagnosis {
  /**
   * What was found, or `clear`: a rank without a record that others wait for (`lost`), ranks that called different operations
   * (`disagreement`), waits in a circle (`circle`), a rank that others wait for (`behind`), or only what ranks were told of a failure
   * (`failure`).
   */
  readonly verdict: FindingKind | 'clear';
  /** The diagnosis. */
  readonly sentence: string;
  /** World ranks to look at, in order; empty when nothing is wrong. */
  readonly culprits: readonly number[];
  /** One row per rank of the world, in the order of ranks. */
  readonly rows: readonly DiagnosisRow[];
  /** Sentences on what is worth knowing besides. */
  readonly remarks: readonly string[];
}

/** Names the rank that is out of line, and how. */
export function findOutlier(merged: MergedRecords): Diagnosis {
  const pairs = messagePairs(merged);
  const found = chooseFinding(merged, findings(merged, pairs)) ?? recordedFailure(merged);
  const { kind, sentence, culprits } = found ?? { kind: 'clear' as const, sentence: clearSentence(merged), culprits: [] };
  const remarks = [failureRemark(merged, kind), absenceRemark(merged, culprits), kind === 'clear' ? stragglerRemark(merged) : undefined];
  return {
    verdict: kind,
    sentence,
    culprits,
    rows: diagnosisRows(merged, culprits),
    remarks: remarks.filter((remark) => remark !== undefined),
  };
}

/** All that is wrong, the most telling first. */
function findings(merged: MergedRecords, pairs: readonly MessagePair[]): Finding[] {
  const disagreements = [disagreement(merged), messageDisagreement(pairs)];
  const absences = [false, true].flatMap((countsPosted) => {
    const waits = rankWaits(merged, pairs, { countsPosted });
    return [lostRanks(merged, waits), waitingCircle(waits), lateRanks(merged, waits)];
  });
  const lost = absences.filter((finding) => finding?.kind === 'lost');
  const others = absences.filter((finding) => finding?.kind !== 'lost');
  return [...lost, ...disagreements, ...others].filter((finding) => finding !== undefined);
}

/**
 * The first finding. But a record may be missing because nobody gathered it: where all failures blame ranks that have records, and a
 * finding confirms it, that one counts.
 */
function chooseFinding(merged: MergedRecords, found: readonly Finding[]): Finding | undefined {
  const [first] = found;
  const blamed = new Set([...merged.records.values()].flatMap(({ failure }) => failure?.culprits ?? []));
  if (first?.kind !== 'lost' || blamed.size === 0) return first;
  const isBlamed = ({ culprits }: Finding) => culprits.length === blamed.size && culprits.every((rank) => blamed.has(rank));
  return found.find((finding) => finding.kind !== 'lost' && isBlamed(finding)) ?? first;
}

/** What the ranks were told, where nothing else shows. */
function recordedFailure({ records }: MergedRecords): Finding | undefined {
  const told = firstToldOfFailure(records);
  if (told === undefined) return undefined;
  const { code, culprits, message } = told.failure;
  const sentence = `the operations of all ranks agree, and rank ${told.rank} was told of a failure (${code}): ${message}`;
  return { kind: 'failure', sentence, culprits: [...culprits].sort((a, b) => a - b) };
}

function firstToldOfFailure(records: MergedRecords['records']): { rank: number; failure: RecordedFailure } | undefined {
  for (const { rank, failure } of records.values()) if (failure !== null) return { rank, failure };
  return undefined;
}

function failureRemark({ records }: MergedRecords, kind: Diagnosis['verdict']): string | undefined {
  const told = firstToldOfFailure(records);
  if (told === undefined || kind === 'failure') return undefined;
  return `Rank ${told.rank} was told (${told.failure.code}): ${told.failure.message}`;
}

function absenceRemark({ missing }: MergedRecords, culprits: readonly number[]): string | undefined {
  const others = missing.filter((rank) => !culprits.includes(rank));
  return others.length === 0 ? undefined : `There ${verb(others, 'is no record', 'are no records')} of ${ranksText(others)}.`;
}

function clearSentence({ records }: MergedRecords): string {
  const operations = [...records.values()].flatMap((record) => record.operations);
  const pending = operations.filter(isPending).length;
  if (pending === 0)
    return `all ${operations.length} operations that ${ranksText([...records.keys()])} recorded are complete: nothing is wrong.`;
  return `no rank is out of line: all members have joined the ${pending} operations in hand.`;
}
