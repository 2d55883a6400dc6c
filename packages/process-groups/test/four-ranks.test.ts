import { runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Verdict } from './ranks/against-reference.ts';
import type { Seen } from './ranks/four-ranks.ts';

describe.each([
  { kind: 'processes', inProcess: false },
  { kind: 'threads', inProcess: true },
])('four ranks that are $kind:', ({ inProcess }) => {
  let ranks: Seen[];

  beforeAll(async () => {
    ranks = await runRanks<Seen>(4, new URL('ranks/four-ranks.ts', import.meta.url), 'seeFourRanks', { inProcess });
  });

  function expectAlike(name: string, verdicts: (seen: Seen) => readonly Verdict[]): void {
    const own = ranks.map((seen) => verdicts(seen).filter((verdict) => verdict.name.startsWith(name)));
    expect(own.flat().length).toBeGreaterThan(4);
    own.forEach((all, rank) => expect({ rank, faults: all.filter(({ fault }) => fault !== undefined) }).toEqual({ rank, faults: [] }));
  }

  describe('collectives against a serial reference, bit for bit', () => {
    it.each(['allReduce', 'reduceScatter'])('%s in every dtype and operation, in rank order', (name) => {
      expectAlike(name, (seen) => seen.reductions);
    });

    it.each(['allGather', 'broadcast', 'allToAll', 'exchange'])('%s in every dtype', (name) => {
      expectAlike(name, (seen) => seen.movements);
    });

    it.each(['reduce', 'gatherToRoot', 'scatter', 'send'])('%s in every dtype, from and to every rank', (name) => {
      expectAlike(name, (seen) => seen.rooted);
    });

    it.each(['allGather', 'reduceScatter', 'gatherToRoot', 'scatter'])('%s with rows of each rank its own, some with none', (name) => {
      expectAlike(name, (seen) => seen.uneven);
    });

    it('an exchange of many messages keeps them in order', () => {
      const from = (source: number, rank: number) => Array.from({ length: 70 }, (_, at) => 1000 * source + 100 * rank + at);
      ranks.forEach(({ manyMessages }, rank) => expect(manyMessages).toEqual([from((rank + 3) % 4, rank), from((rank + 2) % 4, rank)]));
    });

    it('a barrier lets nobody leave before all have come', () => {
      const entered = ranks.map(({ barrier }) => barrier.entered);
      for (const { barrier } of ranks) for (const time of entered) expect(barrier.left >= time).toBe(true);
    });
  });

  describe('work', () => {
    it('may be waited for twice, tells whether it is done, and holds what it was given', () => {
      for (const { work } of ranks)
        expect(work).toMatchObject({ label: 'allReduce', early: false, late: true, isInput: true, values: [6, 4] });
    });

    it('settles as a promise too', () => {
      for (const { work } of ranks) expect(work.settled).toEqual([10]);
    });

    it('of several groups may be started and waited for in any order', () => {
      expect(ranks.map(({ crossed }) => crossed)).toEqual([
        [11, 101, 1111],
        [11, 1010, 1111],
        [1100, 101, 1111],
        [1100, 1010, 1111],
      ]);
    });
  });

  describe('groups', () => {
    it('hold the ranks of their axis', () => {
      const group = (rank: number) => ({
        tp: rank < 2 ? 11 : 1100,
        dp: 10 ** rank,
        pp: rank % 2 === 0 ? 101 : 1010,
        embedding: rank % 2 === 0 ? 101 : 1010,
        modelParallel: 1111,
        world: 1111,
      });
      expect(ranks.map(({ subGroups }) => subGroups)).toEqual([0, 1, 2, 3].map(group));
    });

    it('count their operations and the bytes this rank put in', () => {
      ranks.forEach(({ counts }, rank) =>
        expect(counts).toEqual({
          allReduce: 3,
          allGather: 2,
          reduceScatter: 1,
          broadcast: 1,
          reduce: 1,
          gather: 1,
          scatter: 1,
          allToAll: 1,
          exchange: 1,
          send: 1,
          recv: 1,
          barrier: 1,
          bytes: 32 * (rank === 1 ? 13 : 12), // what is scattered is the root's
        }),
      );
    });
  });

  describe('whole tensors', () => {
    const upTo = (n: number, from = 0) => Array.from({ length: n }, (_, i) => i + from);

    it('come together on the root in the order it asks for, bit for bit, each once, and leave nothing elsewhere', () => {
      const names = ['rows', 'columns', 'stacked.a', 'stacked.b', 'short', 'all', 'far'];
      expect(ranks[2]?.whole.gathered).toEqual({
        forms: [
          'rows f32 [4, 3]',
          'columns f32 [3, 4]',
          'stacked.a f32 [4, 3]',
          'stacked.b f32 [4, 3]',
          'short bf16 [4, 3]',
          'all f32 [2]',
          'far f32 []',
        ],
        values: {
          rows: upTo(12),
          columns: upTo(12),
          'stacked.a': upTo(12),
          'stacked.b': upTo(12, 100),
          short: upTo(12),
          all: [0, 1],
          far: [7],
        },
        calls: ['begin', ...names.toReversed(), 'end'],
      });
      for (const rank of [0, 1, 3]) expect(ranks[rank]?.whole.gathered).toEqual({ forms: [], values: {}, calls: [] });
    });

    // Threads of one process share its counters.
    it.runIf(!inProcess)('leave the memory as it was', () => {
      for (const { whole } of ranks) expect(whole.liveHandles[1]).toBe(whole.liveHandles[0]);
    });

    it('end on every rank by what went wrong on one', () => {
      ranks.forEach(({ whole }, rank) => {
        const calls = rank === 2 ? 'begin,far,all,short,stacked.b,stacked.a,abort' : '';
        expect(whole.full).toBe(`UNWRITABLE rank 2: sink: full. ${calls}`);
        expect(whole.stranger).toBe(rank === 2 ? 'RangeError: not one of the library' : 'RANK_FAILED rank 2: not one of the library');
        expect(whole.uninitialized).toBe(
          'NOT_INITIALIZED rank 1: gatherWhole: parameter "late" has no values yet. Call model.initialize(ctx) first.',
        );
        expect(whole.lacking).toBe(
          'INCOMPLETE rank 2: gatherWhole: the ranks hold 6 of the 12 elements of "rows", each part counted once. Call it on every rank of the context, with all parameters of each.',
        );
      });
    });
  });

  describe("groups of one's own", () => {
    it('reduce in the order of their list, which is the order of their ranks', () => {
      for (const { own } of ranks) expect(own.shuffled.fault).toBeUndefined();
      expect(ranks.map(({ own }) => own.shuffled.rank)).toEqual([2, 0, 3, 1]);
    });

    it('work side by side with others, and with a second one of the same ranks', () => {
      expect(ranks.map(({ own }) => own.pairs)).toEqual([
        [1001, 1001],
        [110, 110],
        [110, 110],
        [1001, 1001],
      ]);
    });

    it('tell a rank that is not among them', () => {
      expect(ranks.map(({ own }) => own.stranger)).toEqual(
        [0, 1, 2, 3].map((rank) =>
          rank === 3 || rank === 1
            ? 'nothing was refused'
            : `NOT_A_MEMBER allReduce on group outer [3, 1]: this process is rank ${rank}, not one of them. Call it on the group's ranks only.`,
        ),
      );
      expect(ranks.map(({ own }) => own.strangerRank)).toEqual([-1, 1, -1, 0]);
    });

    it('end with their context', () => {
      for (const { own } of ranks)
        expect(own.afterDestroy).toEqual([
          'ABORTED group custom [0, 1, 2, 3]: used after its context was destroyed. Initialize a new context.',
          'ABORTED ctx.newGroup: the context was destroyed. Initialize a new one.',
          'ABORTED ctx.flightRecord: the context was destroyed. Ask before.',
        ]);
    });
  });

  describe('several contexts in one process', () => {
    it('over other ranks and over the same work side by side, in any order', () => {
      const expected = (rank: number) => {
        const pair = rank < 2 ? 11 : 1100;
        return { sideBySide: [pair, pair, pair, rank % 2 === 0 ? 101 : 1010], places: [rank % 2, Math.floor(rank / 2), 2] };
      };
      ranks.forEach(({ contexts }, rank) => expect(contexts).toMatchObject(expected(rank)));
    });

    it('end without ending the others, and say so when they are used afterwards', () => {
      ranks.forEach(({ contexts }, rank) => {
        const pair = rank < 2 ? 11 : 1100;
        const members = rank < 2 ? '0, 1' : '2, 3';
        expect(contexts).toMatchObject({
          afterOne: [pair, pair],
          afterDestroy: `ABORTED group tp [${members}]: used after its context was destroyed. Initialize a new context.`,
          stepAfterDestroy: 'ABORTED ctx.step: the context was destroyed. Initialize a new one.',
        });
      });
    });

    it('open one after another with other layouts', () => {
      ranks.forEach(({ contexts }, rank) => {
        const own = 10 ** rank;
        const far = rank % 2 === 0 ? 101 : 1010;
        const near = rank < 2 ? 11 : 1100;
        expect(contexts.oneAfterAnother).toEqual([own, own, 1111, 1111, own, own, own, far, near, own, own, 1111]);
      });
    });

    it('take their ranks in any order', () => {
      const far = { ranks: [3, 2], sum: 1100 };
      const near = { ranks: [1, 0], sum: 11 };
      expect(ranks.map(({ contexts }) => contexts.backwards)).toEqual([
        { rank: 1, ...near },
        { rank: 0, ...near },
        { rank: 1, ...far },
        { rank: 0, ...far },
      ]);
    });

    // Threads of one process share its counters.
    it.runIf(!inProcess)('count what they receive as communication while it lives', () => {
      for (const { receivedBytes } of ranks) expect(receivedBytes).toEqual([ranks.length * 32, 0]);
    });

    it('leave nothing in shared memory', () => {
      for (const { sharedMemory } of ranks) expect(sharedMemory).toEqual([]);
    });
  });

  describe('ctx.step', () => {
    const place = (rank: number) => `rank ${rank} (tp ${rank % 2}, dp 0, pp ${Math.floor(rank / 2)})`;

    it('refuses to end while operations were never waited for', () => {
      ranks.forEach(({ step }, rank) =>
        expect(step.unwaited).toBe(
          `UNWAITED_WORK ${place(rank)}: ctx.step(3): 2 operation(s) were never waited for (allReduce, barrier). Call wait() on what they return.`,
        ),
      );
    });

    it('refuses an asynchronous callback', () => {
      ranks.forEach(({ step }, rank) =>
        expect(step.isAsync).toBe(
          `ASYNC_CALLBACK ${place(rank)}: scope: the callback returned a promise, and a region of memory must not span an await. Await before the scope, or use a plain function.`,
        ),
      );
    });

    it('adds the place of the rank to errors of the library, and to no others', () => {
      ranks.forEach(({ step }, rank) => {
        expect(step.located).toContain(`DATA_LENGTH ${place(rank)}: tensor`);
        expect(step.plain).toBe('RangeError: of the user');
      });
    });

    it('leaves no trace when it throws', () => {
      for (const { step } of ranks) expect(step).toMatchObject({ isRestored: true, newHandles: 0, inside: { step: 7, sum: 1111 } });
    });
  });

  describe('finalizeGrads', () => {
    it('sums what is partial and what is shared, a missing gradient as zero, scales, and leaves finished ones alone', () => {
      ranks.forEach(({ finished }, rank) => {
        const near = rank < 2 ? 11 : 1100;
        const far = rank % 2 === 0 ? 101 : 1010;
        expect(finished.gradients).toEqual({
          partial: [near / 2, 1],
          absent: [(rank < 2 ? 10 : 1000) / 2, 0.5],
          shared: [far / 2, 1],
          plain: [10 ** rank / 2, 0.5],
          finished: [10 ** rank, 1],
        });
      });
    });

    it('packs all gradients of a group into one operation, and does nothing the second time', () => {
      for (const { finished } of ranks) expect(finished).toMatchObject({ packed: 1, operations: [1, 1] });
    });
  });
});
