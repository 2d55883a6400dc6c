import { describe, expect, it } from 'vitest';
import {
  type Action,
  assertSchedule,
  checkSchedule,
  type ExchangeAction,
  oneForwardOneBackward,
  type Schedule,
  scheduleFromCompute,
  type Transfer,
} from '../src/index.ts';
import { publishedSchedule, publishedSchedules } from './published-tables.ts';
import { singleSends } from './single-sends.ts';

const small = oneForwardOneBackward({ numStages: 3, numMicrobatches: 4 });

/** The schedule with one rank's list changed. */
function withRank(schedule: Schedule, rank: number, change: (actions: Action[]) => Action[]): Schedule {
  return { ...schedule, ranks: schedule.ranks.map((actions, at) => (at === rank ? change([...actions]) : actions)) };
}

/** The schedule with one exchange's transfers changed. */
function withTransfers(
  schedule: Schedule,
  at: { rank: number; action: number },
  change: (transfers: readonly Transfer[]) => Transfer[],
): Schedule {
  return withRank(schedule, at.rank, (actions) =>
    actions.map((action, index) =>
      index === at.action ? { kind: 'exchange', transfers: change((action as ExchangeAction).transfers) } : action,
    ),
  );
}

/** Where every exchange stands. */
function exchangesOf({ ranks }: Schedule): { rank: number; action: number }[] {
  return ranks.flatMap((actions, rank) => actions.flatMap(({ kind }, action) => (kind === 'exchange' ? [{ rank, action }] : [])));
}

function sentences(schedule: Schedule): string[] {
  return checkSchedule(schedule).problems.map(({ rule, rank, action, sentence }) => `${rule}: rank ${rank} action ${action}: ${sentence}`);
}

describe('plain 1F1B with single sends', () => {
  it('is found to deadlock whenever a steady state has two ranks, and the cycle is named', () => {
    expect(() => assertSchedule(singleSends({ numStages: 2, numMicrobatches: 4 }))).toThrow(
      expect.objectContaining({
        name: 'ConfigError',
        code: 'INVALID_SCHEDULE',
        message:
          'schedule "1f1b with single sends": rank 0 action 3: deadlock: '
          + 'rank 0 at action 3 (send activation of microbatch 1 to rank 1) waits for rank 1, '
          + 'rank 1 at action 3 (send gradient of microbatch 0 to rank 0) waits for rank 0. '
          + 'Post sends and receives that wait for each other as one exchange.',
      }),
    );
  });

  it('deadlocks for 2 to 8 stages with at least 2 microbatches, and runs where there is nothing to wait for', () => {
    for (let numStages = 1; numStages <= 8; numStages++) {
      for (let numMicrobatches = 1; numMicrobatches <= 20; numMicrobatches++) {
        const rules = checkSchedule(singleSends({ numStages, numMicrobatches })).problems.map(({ rule }) => rule);
        expect(rules).toEqual(numStages > 1 && numMicrobatches > 1 ? ['deadlock'] : []);
      }
    }
  });
});

describe('checkSchedule', () => {
  it('finds every forgotten transfer', () => {
    for (const at of exchangesOf(small)) {
      const { transfers } = small.ranks[at.rank]?.[at.action] as ExchangeAction;
      for (const forgotten of transfers) {
        expect(sentences(withTransfers(small, at, (all) => all.filter((transfer) => transfer !== forgotten)))).not.toEqual([]);
      }
    }
  });

  it('finds every doubled, misdirected and mislabelled transfer', () => {
    const changes: ((transfer: Transfer) => Transfer[])[] = [
      (transfer) => [transfer, transfer],
      (transfer) => [{ ...transfer, peer: (transfer.peer + 1) % 3 }],
      (transfer) => [{ ...transfer, microbatch: (transfer.microbatch + 1) % 4 }],
      (transfer) => [{ ...transfer, payload: transfer.payload === 'activation' ? 'gradient' : 'activation' }],
      (transfer) => [{ ...transfer, direction: transfer.direction === 'send' ? 'receive' : 'send' }],
      (transfer) => [{ ...transfer, chunk: 1 }],
      (transfer) => [{ ...transfer, toStage: transfer.fromStage }],
    ];
    for (const at of exchangesOf(small)) {
      for (const change of changes) {
        expect(
          sentences(withTransfers(small, at, ([first, ...rest]) => (first === undefined ? [] : [...change(first), ...rest]))),
        ).not.toEqual([]);
      }
    }
  });

  it('finds every forgotten and every doubled computation', () => {
    for (const [rank, actions] of small.ranks.entries()) {
      for (const [index, action] of actions.entries()) {
        if (action.kind === 'exchange') continue;
        expect(checkSchedule(withRank(small, rank, (all) => all.toSpliced(index, 1))).problems[0]?.rule).toBe('complete');
        expect(checkSchedule(withRank(small, rank, (all) => all.toSpliced(index, 0, action))).problems[0]?.rule).toBe('complete');
      }
    }
  });

  it('says what is missing, what is doubled and what stands in the wrong place', () => {
    expect(sentences(withRank(small, 0, (actions) => actions.slice(1)))).toEqual([
      'complete: rank 0 action 5: microbatch 0 on stage 0 has only backward. '
        + 'It needs exactly one forward and one backward (or its input and weight halves).',
    ]);
    expect(sentences(withRank(small, 2, (actions) => [...actions, ...actions.slice(1, 2)]))).toEqual([
      'complete: rank 2 action 13: forward of microbatch 0 on stage 2 stands here a second time. Take one away.',
    ]);
    expect(
      sentences(withRank(small, 2, (actions) => [...actions.slice(0, 1), ...actions.slice(1, 3).reverse(), ...actions.slice(3)])),
    ).toEqual([
      'order: rank 2 action 1: backward of microbatch 0 on stage 2 stands before forward of microbatch 0 on stage 2. Put it behind.',
    ]);
    expect(sentences(withRank(small, 1, (actions) => [...(small.ranks[2] ?? []).slice(1, 2), ...actions]))).toEqual([
      'shape: rank 1 action 0: forward of microbatch 0 on stage 2 stands in chunk 0 of rank 1, but belongs to chunk 0 of rank 2.',
    ]);
  });

  it('says when data is used or sent before it exists, or never sent', () => {
    const [receive, first] = small.ranks[1] as [Action, Action];
    expect(sentences(withRank(small, 1, (actions) => [first, receive, ...actions.slice(2)]))).toEqual([
      'data: rank 1 action 0: forward of microbatch 0 on stage 1 comes before its activation is received from rank 0. Put it behind.',
    ]);
    expect(sentences(withRank(small, 0, ([compute, send, ...rest]) => [send as Action, compute as Action, ...rest]))).toEqual([
      'data: rank 0 action 0: send activation of microbatch 0 to rank 1 comes before it is computed. Put it behind.',
      'pairing: rank 0 action 14: send activation of microbatch 0 to rank 1 is missing. Send it once it is computed.',
    ]);
  });

  it('says when the ends of a channel disagree on the order', () => {
    const warm = oneForwardOneBackward({ numStages: 3, numMicrobatches: 4 });
    const early = withTransfers(warm, { rank: 1, action: 0 }, (transfers) => [
      ...(warm.ranks[1]?.[2] as ExchangeAction).transfers.filter(({ direction }) => direction === 'receive'),
      ...transfers,
    ]);
    const swapped = withTransfers(early, { rank: 1, action: 2 }, (transfers) => transfers.filter(({ direction }) => direction === 'send'));
    expect(sentences(swapped)).toEqual([
      'pairing: rank 1 action 0: receive activation of microbatch 1 from rank 0 meets activation of microbatch 0, which that rank '
        + 'sends at this place. Receive in the order of sending.',
    ]);
  });

  it('says when a rank holds more activations than declared', () => {
    expect(() => scheduleFromCompute('greedy', ['F0 F1 B0 B1', 'F0 F1 B0 B1'], { peakActivations: [2, 1] })).toThrow(
      'schedule "greedy": rank 1 action 3: holds 2 activations at its peak, but declares 1. Declare 2, or run backward passes earlier.',
    );
  });

  it('reports whether weight gradients run in microbatch order', () => {
    expect(checkSchedule(small).ordered).toBe(true);
    expect(checkSchedule(scheduleFromCompute('last first', ['F0 F1 B1 B0'])).ordered).toBe(false);
    expect(checkSchedule(scheduleFromCompute('inputs last first', ['F0 F1 I1 I0 W0 W1'])).ordered).toBe(true);
    const ordered = publishedSchedules.map((published): [string, boolean] => [
      published.name,
      checkSchedule(publishedSchedule(published)).ordered,
    ]);
    expect(Object.fromEntries(ordered)).toEqual({
      '1F1B': true,
      'interleaved 1F1B, 2 chunks': true,
      'ZB-H1': true,
      'ZB-H2': true,
      ZBV: true,
      DualPipe: false,
      DualPipeV: true,
    });
  });

  it('refuses lists and placements that do not fit the sizes', () => {
    expect(sentences({ ...small, ranks: small.ranks.slice(1) })).toEqual([
      'shape: rank 0 action 0: there are 2 lists for 3 ranks. Give each rank one list.',
    ]);
    expect(sentences({ ...small, numStages: 4 })).toEqual([
      'shape: rank 0 action 0: the placement has routes of 3 stages for 4. Give each route every stage.',
    ]);
    expect(sentences({ ...small, numMicrobatches: 3 })[0]).toContain('microbatch 3');
  });
});
