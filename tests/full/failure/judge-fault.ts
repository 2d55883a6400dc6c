import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findOutlier, mergeRecords, parseFlightRecord } from '@megatron-ts/flight-recorder';
import { observeRanks, type RankOutcome } from '@megatron-ts/testing';
import { expect } from 'vitest';
import { processesWith } from '../../examples/run-example.ts';
import type { FaultPlan } from './fault-plans.ts';

const module = new URL('ranks/train-until-fault.ts', import.meta.url);

/** Kinds after which the culprit says nothing more. */
const silent: readonly FaultPlan['kind'][] = ['killed', 'left', 'threw'];

/** Whether a sentence names the rank: as a culprit, or as one of two that disagree, where nobody knows which of them is right. */
function accuses(sentence: string | undefined, culprits: readonly number[] | undefined, rank: number): boolean {
  return culprits?.includes(rank) === true || new RegExp(`rank ${rank} (called|calls|sent|was to receive)`).test(sentence ?? '');
}

/** Plays a fault; afterwards all survivors and the records name its rank, and nothing is left. */
export async function expectNamed(plan: FaultPlan, inProcess: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'megatron-fault-'));
  try {
    const options = { args: [plan], env: { MEGATRON_RECORDER_DIR: folder }, timeoutMs: 60_000, inProcess };
    const outcomes = await observeRanks<void>(plan.run.ranks.length, module, 'trainUntilFault', options);
    const survivors = outcomes.filter(({ rank }) => rank !== plan.culprit || !silent.includes(plan.kind));
    const records = expectTold(plan, survivors, folder);
    expectEnded(plan, outcomes[plan.culprit]);
    const { culprits, sentence } = findOutlier(mergeRecords(records));
    expect(accuses(sentence, culprits, plan.culprit), `diagnosis of [${culprits.join(', ')}]: ${sentence}`).toBe(true);
    expect(inProcess ? [] : processesWith(`MEGATRON_RECORDER_DIR=${folder}`)).toEqual([]);
    expect(sharedMemory()).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** All survivors end by one sentence, which names the culprit, and leave their records, which are returned. */
function expectTold({ culprit }: FaultPlan, survivors: readonly RankOutcome<void>[], folder: string) {
  const records = survivors.map(({ rank, code, signal, error, stderr }) => {
    expect({ rank, code, signal, error: error?.name }, stderr).toEqual({ rank, code: 1, signal: null, error: 'ProcessGroupError' });
    const file = join(folder, `rank-${rank}.json`);
    const record = parseFlightRecord(readFileSync(file, 'utf8'), file);
    expect(error?.message).toContain(record.failure?.message);
    expect(error?.code).toBe(record.failure?.code);
    expect(accuses(record.failure?.message, record.failure?.culprits, culprit), error?.message).toBe(true);
    return record;
  });
  expect(new Set(records.map(({ failure }) => failure?.message)).size).toBe(1);
  return records;
}

/** The culprit ended as its fault says. */
function expectEnded({ kind }: FaultPlan, culprit: RankOutcome<void> | undefined): void {
  if (kind === 'killed') expect(culprit).toMatchObject({ signal: 'SIGKILL' });
  else expect(culprit).toMatchObject({ code: kind === 'left' ? 0 : 1, signal: null });
}

/** What worlds of this process have left in shared memory. */
function sharedMemory(): string[] {
  return existsSync('/dev/shm') ? readdirSync('/dev/shm').filter((name) => name.startsWith(`megatron-run-${process.pid}-`)) : [];
}
