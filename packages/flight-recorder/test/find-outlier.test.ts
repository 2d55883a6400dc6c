import { ConfigError, type MegatronError } from '@megatron-ts/errors';
import { type Diagnosis, findOutlier, type FlightRecord, mergeRecords } from '@megatron-ts/flight-recorder';
import { describe, expect, it } from 'vitest';
import { RecordedWorld } from './recorded-world.ts';

const diagnose = (records: readonly FlightRecord[]): Diagnosis => findOutlier(mergeRecords(records));

/** Four ranks in one group, which have completed `complete` operations together; a larger world has more outside it. */
function worldOfFour({ complete = 2, size = 4 } = {}) {
  const world = new RecordedWorld(size);
  const dp = world.group('dp', [0, 1, 2, 3]);
  for (let at = 0; at < complete; at++) world.all(dp);
  return { world, dp };
}

describe('mergeRecords', () => {
  function refusal(records: readonly FlightRecord[]): string {
    try {
      mergeRecords(records);
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      return `${(error as MegatronError).code} ${(error as Error).message}`;
    }
    throw new Error('the records were merged');
  }

  it('refuses what is not one world', () => {
    const { world } = worldOfFour();
    const [first, second] = world.records() as [FlightRecord, FlightRecord];
    expect(refusal([])).toBe('MISSING_OPTION mergeRecords: there are no records. Pass one per rank.');
    expect(refusal([first, { ...second, job: 'run-2' }])).toBe(
      'CONTRADICTION flight records: rank 0 recorded job run-1 and rank 1 job run-2. Keep the records of one run.',
    );
    expect(refusal([first, { ...second, worldSize: 8 }])).toBe(
      'CONTRADICTION flight records: rank 0 recorded a world of 4 and rank 1 one of 8. Keep the records of one run.',
    );
    expect(refusal([first, second, first])).toBe('CONTRADICTION flight records: two records are of rank 0. Keep those of one run.');
  });

  it('notes the ranks without a record, and knows a group by name, ranks and instance whatever its id', () => {
    const { world } = worldOfFour();
    world.group('tp', [2, 3]);
    world.group('dp', [0, 1, 2, 3], 1);
    const merged = mergeRecords(world.records({ without: [1] }).reverse());
    expect(merged.missing).toEqual([1]);
    expect([...merged.records.keys()]).toEqual([0, 2, 3]);
    expect(merged.groups.map(({ name, instance, members }) => [name, instance, [...members.keys()]])).toEqual([
      ['dp', 0, [0, 2, 3]],
      ['dp', 1, [0, 2, 3]],
      ['tp', 0, [2, 3]],
    ]);
  });
});

describe('findOutlier', () => {
  it('says that nothing is wrong when every operation is complete', () => {
    const { world } = worldOfFour();
    const { verdict, sentence, culprits, remarks, rows } = diagnose(world.records());
    expect({ verdict, culprits, remarks }).toEqual({ verdict: 'clear', culprits: [], remarks: [] });
    expect(sentence).toBe('all 8 operations that ranks 0-3 recorded are complete: nothing is wrong.');
    expect(rows[3]).toEqual({
      rank: 3,
      host: 'n0',
      group: 'dp',
      lastCompleted: 'allReduce#2 f32[8]',
      inHand: null,
      state: 'idle',
      ageMs: 59_988,
      isOutlier: false,
    });
  });

  it('names a rank without a record that others wait for, and remarks on one that nobody waits for', () => {
    const { world, dp } = worldOfFour({ size: 5 });
    const tp = world.group('tp', [0, 4]);
    world.all(dp, { state: 'failed', label: 'layers.1.mlp.down' }, [0, 1, 3]);
    world.call(4, tp, { state: 'failed' });
    world.fail('PEER_LOST', [2], 'rank 2 exited.');
    const { verdict, sentence, culprits, rows, remarks } = diagnose(world.records({ without: [2] }));
    expect({ verdict, culprits }).toEqual({ verdict: 'lost', culprits: [2] });
    expect(sentence).toBe(
      'rank 2 left no complete record and is missing from allReduce#3 f32[8] (layers.1.mlp.down) on group dp (ranks 0-3), '
        + 'in which ranks 0, 1, 3 wait, and behind them rank 4: it was killed or ended early, or its file lies elsewhere. Look at the log of rank 2.',
    );
    expect(rows.map(({ state, isOutlier }) => [state, isOutlier])).toEqual([
      ['failed', false],
      ['failed', false],
      ['no record', true],
      ['failed', false],
      ['failed', false],
    ]);
    expect(remarks).toEqual(['Rank 0 was told (PEER_LOST): rank 2 exited.']);

    const done = diagnose(worldOfFour().world.records({ without: [2] }));
    expect([done.verdict, done.remarks]).toEqual(['clear', ['There is no record of rank 2.']]);
  });

  it.each([
    ['kind', { kind: 'allGather' as const, op: null }, 'allGather#3 f32[8]', 'allReduce#3 f32[8] sum'],
    ['dtype', { dtype: 'bf16' as const }, 'allReduce#3 bf16[8]', 'allReduce#3 f32[8]'],
    ['count', { count: 9 }, 'allReduce#3 f32[9]', 'allReduce#3 f32[8]'],
    ['op', { op: 'max' as const }, 'allReduce#3 f32[8] max', 'allReduce#3 f32[8] sum'],
    ['root', { root: 1 }, 'allReduce#3 f32[8] from group rank 1', 'allReduce#3 f32[8]'],
  ])('names the rank that called another %s than the majority', (_, call, odd, norm) => {
    const { world, dp } = worldOfFour();
    world.all(dp, { state: 'failed' }, [0, 1, 3]);
    world.call(2, dp, { ...call, state: 'failed' });
    world.fail('TIMEOUT', [0], 'rank 0 is to blame.'); // evidence, not the answer
    const { verdict, sentence, culprits } = diagnose(world.records());
    expect({ verdict, culprits }).toEqual({ verdict: 'disagreement', culprits: [2] });
    expect(sentence).toBe(
      `rank 2 called ${odd} on group dp (ranks 0-3) where ranks 0, 1, 3 called ${norm}: all must call the same in the same order.`,
    );
  });

  it('names the first of several disagreements, and both ranks of two unless the failure blames one', () => {
    const world = new RecordedWorld(2);
    const [tp, dp] = [world.group('tp', [0, 1]), world.group('dp', [0, 1])];
    for (const group of [tp, dp]) {
      world.call(0, group, { count: 1, state: 'failed' });
      world.call(1, group, { count: 2, state: 'failed' });
    }
    const both = diagnose(world.records());
    expect(both.culprits).toEqual([0, 1]);
    expect(both.sentence).toBe(
      'rank 1 called allReduce#1 f32[2] on group tp (ranks 0, 1) where rank 0 called allReduce#1 f32[1]: '
        + 'all must call the same in the same order.',
    );
    world.fail('MISMATCH', [0], 'rank 0 is the odd one.');
    const blamed = diagnose(world.records());
    expect([blamed.culprits, blamed.sentence.split(' on ')[0]]).toEqual([[0], 'rank 0 called allReduce#1 f32[1]']);
  });

  it('compares only what the rings of both ranks still hold', () => {
    const { world, dp } = worldOfFour({ complete: 5 });
    world.all(dp, { state: 'failed' }, [0, 1, 2]);
    world.draft(0).operations[0]!.count = 99;
    for (const rank of [1, 2, 3]) {
      world.draft(rank).dropped = 2;
      world.draft(rank).operations.splice(0, 2);
    }
    const { verdict, culprits } = diagnose(world.records());
    expect({ verdict, culprits }).toEqual({ verdict: 'behind', culprits: [3] });
    world.draft(3).dropped = 5;
    world.draft(3).operations = [];
    expect(diagnose(world.records()).sentence).toContain('rank 3 has not joined allReduce#6');
  });

  it('names a rank that is behind, what it did last, and all that wait', () => {
    const { world, dp } = worldOfFour({ size: 5 });
    const tp = world.group('tp', [0, 4]);
    world.all(dp, { state: 'failed', label: 'grads' }, [0, 1, 2]);
    world.call(4, tp, { state: 'failed' });
    const { verdict, sentence, culprits } = diagnose(world.records());
    expect({ verdict, culprits }).toEqual({ verdict: 'behind', culprits: [3] });
    expect(sentence).toBe(
      'rank 3 has not joined allReduce#3 f32[8] (grads) on group dp (ranks 0-3), in which ranks 0-2 wait, and behind them rank 4: '
        + 'it is in no operation; the last it completed is allReduce#2 f32[8] on group dp. Find what keeps rank 3.',
    );
  });

  it('tells several ranks that are behind, one that has only posted, and one that never called anything', () => {
    const { world, dp } = worldOfFour();
    world.all(dp, { state: 'failed' }, [0, 1]);
    world.draft(2).operations = [];
    expect(diagnose(world.records()).sentence).toBe(
      'ranks 2, 3 have not joined allReduce#3 f32[8] on group dp (ranks 0-3), in which ranks 0, 1 wait: '
        + 'rank 2 has called no operation yet. Find what keeps ranks 2, 3.',
    );
    world.post(3, world.group('tp', [1, 3]), { state: 'started' });
    world.all(dp, { state: 'failed' }, [2]);
    world.draft(2).operations[0]!.sequence = 3;
    expect(diagnose(world.records()).sentence).toContain(
      'rank 3 has not joined allReduce#3 f32[8] on group dp (ranks 0-3), in which ranks 0-2 wait: '
        + 'it has posted allReduce#1 f32[8] on group tp and does not wait for it.',
    );
  });

  it('names the circle when ranks wait for each other in different groups', () => {
    const world = new RecordedWorld(3);
    const [a, b, c] = [world.group('a', [0, 1]), world.group('b', [1, 2]), world.group('c', [0, 2])];
    world.call(0, a, { state: 'failed' });
    world.call(1, b, { state: 'failed' });
    world.call(2, c, { state: 'failed' });
    const { verdict, sentence, culprits } = diagnose(world.records());
    expect({ verdict, culprits }).toEqual({ verdict: 'circle', culprits: [0, 1, 2] });
    expect(sentence).toBe(
      'rank 0 waits in allReduce#1 f32[8] on group a for rank 1, which waits in allReduce#1 f32[8] on group b for rank 2, '
        + 'which waits in allReduce#1 f32[8] on group c for rank 0: the waits form a circle. '
        + 'Make these ranks call their operations in one order.',
    );
  });

  it('names the rank that never sent what another waits for', () => {
    const world = new RecordedWorld(3);
    const pp = world.group('pp', [2, 1, 0]);
    const message = (peer: number) => [{ peer, dtype: 'f32' as const, count: 10 }];
    world.call(1, pp, { kind: 'send', sends: message(0) });
    world.call(2, pp, { kind: 'recv', receives: message(1) });
    world.call(2, pp, { kind: 'recv', receives: message(1), state: 'failed', label: 'stage 1' });
    const { verdict, sentence, culprits } = diagnose(world.records());
    expect({ verdict, culprits }).toEqual({ verdict: 'behind', culprits: [1] });
    expect(sentence).toContain('rank 1 has not joined the other end of recv#2 (stage 1) on group pp (ranks 0-2), in which rank 2 waits:');
  });

  it('names both ends of a message of different sizes, counting from the first message of the pair', () => {
    const world = new RecordedWorld(2);
    const pp = world.group('pp', [0, 1]);
    const message = (peer: number, count: number) => [{ peer, dtype: 'f32' as const, count }];
    world.call(0, pp, { kind: 'send', sends: message(1, 10) });
    world.call(1, pp, { kind: 'exchange', receives: message(0, 10), sends: message(0, 1) });
    world.call(0, pp, { kind: 'recv', receives: message(1, 1) });
    world.call(0, pp, { kind: 'send', sends: message(1, 10), state: 'failed' });
    world.call(1, pp, { kind: 'recv', receives: message(0, 12), state: 'failed' });
    const { verdict, sentence, culprits } = diagnose(world.records());
    expect({ verdict, culprits }).toEqual({ verdict: 'disagreement', culprits: [0, 1] });
    expect(sentence).toBe(
      'rank 0 sends f32[10] to rank 1 in send#3 on group pp (ranks 0, 1) where rank 1 expects f32[12] in recv#2: '
        + 'make the two agree on dtype, size and order.',
    );
  });

  it('believes a failure that blames a recorded rank when the missing records may only be elsewhere', () => {
    const { world, dp } = worldOfFour();
    world.all(dp, { state: 'failed' }, [0]);
    world.call(1, dp, { count: 9, state: 'failed' });
    world.call(2, dp, { state: 'failed' });
    expect(diagnose(world.records({ without: [3] })).verdict).toBe('lost');
    world.fail('MISMATCH', [1], 'rank 1 is odd.');
    const { verdict, culprits, remarks } = diagnose(world.records({ without: [3] }));
    expect({ verdict, culprits }).toEqual({ verdict: 'disagreement', culprits: [1] });
    expect(remarks).toContain('There is no record of rank 3.');
  });

  it('counts a posted operation as a wait when no rank waits, since a promise may be awaited', () => {
    const { world, dp } = worldOfFour();
    for (const rank of [0, 1, 2]) world.post(rank, dp, { state: 'started' });
    expect(diagnose(world.records()).culprits).toEqual([3]);
  });

  it('hands on the failure when nothing else shows, and tells operations that all have joined', () => {
    const { world, dp } = worldOfFour();
    world.all(dp, { state: 'started' });
    expect(diagnose(world.records())).toMatchObject({
      verdict: 'clear',
      sentence: 'no rank is out of line: all members have joined the 4 operations in hand.',
    });
    world.fail('ABORTED', [3], 'rank 3 gave up.');
    expect(diagnose(world.records())).toMatchObject({
      verdict: 'failure',
      culprits: [3],
      sentence: 'the operations of all ranks agree, and rank 0 was told of a failure (ABORTED): rank 3 gave up.',
    });
  });

  it('remarks on a rank that the others kept waiting for, though all is complete', () => {
    const { world } = worldOfFour({ complete: 12 });
    for (const { rank, operations } of world.drafts) {
      for (const entry of operations) entry.endedMs = entry.postedMs + (rank === 2 ? 1 : 6);
    }
    const { verdict, remarks, culprits } = diagnose(world.records());
    expect({ verdict, culprits }).toEqual({ verdict: 'clear', culprits: [] });
    expect(remarks).toEqual([
      'rank 2 is slower than the others of group dp (ranks 0-3): the others waited 0.1 s for it, 54 % of the time that these records cover.',
    ]);
  });

  it('takes a large world in which one rank is late', () => {
    const world = new RecordedWorld(1024);
    const all = world.group(
      'world',
      world.drafts.map(({ rank }) => rank),
    );
    for (let at = 0; at < 20; at++) world.all(all);
    world.all(
      all,
      { state: 'failed' },
      all.ranks.filter((rank) => rank !== 700),
    );
    expect(diagnose(world.records()).sentence).toContain('in which ranks 0-699, 701-1023 wait: it is in no operation');
  });
});
