import { type FlightRecord, type RecordedGroup, type RecordedMessage, verifyRecords } from '@megatron-ts/flight-recorder';
import { describe, expect, it } from 'vitest';
import { type Call, type Draft, type Entry, RecordedWorld } from './recorded-world.ts';

/** Whole numbers below `below`, the same for the same seed. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const message = (peer: number, count = 4): RecordedMessage => ({ peer, dtype: 'f32', count });

function shuffled(values: readonly number[], random: (below: number) => number): number[] {
  const list = [...values];
  for (let at = list.length - 1; at > 0; at--) {
    const other = random(at + 1);
    [list[at], list[other]] = [list[other] as number, list[at] as number];
  }
  return list;
}

const calls: readonly Call[] = [
  { kind: 'allReduce' },
  { kind: 'allReduce', op: 'max', dtype: 'bf16' },
  { kind: 'allGather', count: 5 },
  { kind: 'reduceScatter', op: 'avg' },
  { kind: 'broadcast' },
  { kind: 'gather', count: 0 },
  { kind: 'allToAll', count: 0 },
  { kind: 'barrier' },
];

/** A program that no rank can hang in: all follow one order of operations, and wait for each at some later place. */
function randomWorld(seed: number, { size = 6, steps = 60 } = {}): RecordedWorld {
  const random = randomNumbers(seed);
  const world = new RecordedWorld(size);
  const all = world.drafts.map(({ rank }) => rank);
  const groups = [world.group('world', all)];
  for (let at = 1; at < 5; at++) groups.push(world.group(`g${at}`, shuffled(all, random).slice(0, 2 + random(size - 1))));
  const unwaited = world.drafts.map((): Entry[] => []);
  for (let step = 0; step < steps; step++) {
    const group = groups[random(groups.length)] as RecordedGroup;
    if (random(3) > 0) {
      const call = calls[random(calls.length)] as Call;
      for (const rank of group.ranks) unwaited[rank]?.push(world.post(rank, group, call));
    } else {
      const [a, b] = shuffled([...group.ranks.keys()], random) as [number, number];
      const count = 1 + random(4);
      const isBoth = random(2) === 0;
      const first: Call = isBoth
        ? { kind: 'exchange', sends: [message(b, count)], receives: [message(b)] }
        : { kind: 'send', sends: [message(b, count)] };
      const second: Call = isBoth
        ? { kind: 'exchange', sends: [message(a)], receives: [message(a, count)] }
        : { kind: 'recv', receives: [message(a, count)] };
      for (const [member, call] of [
        [a, first],
        [b, second],
      ] as const) {
        const rank = group.ranks[member] as number;
        unwaited[rank]?.push(world.post(rank, group, call));
      }
    }
    for (const [rank, entries] of unwaited.entries()) {
      while (entries.length > 0 && random(2) === 0) world.wait(rank, entries.splice(random(entries.length), 1)[0] as Entry);
    }
  }
  for (const [rank, entries] of unwaited.entries()) for (const entry of entries) world.wait(rank, entry);
  return world;
}

/** Takes an operation out of a program, as if it had never been called. */
function remove({ operations }: Draft, entry: Entry): void {
  operations.splice(operations.indexOf(entry), 1);
  const isPair = (kind: Entry['kind']) => ['exchange', 'send', 'recv'].includes(kind);
  for (const other of operations) {
    const isLater = other.posted > entry.posted && other.group === entry.group && isPair(other.kind) === isPair(entry.kind);
    if (isLater) other.sequence--;
  }
}

/** One change to a world's records, which leaves something wrong with one rank. */
const mutations: Record<string, (draft: Draft, entry: Entry) => boolean> = {
  'another kind': (_, entry) => entry.kind === 'allGather' && (entry.kind = 'allToAll') !== undefined,
  'another dtype': (_, entry) => entry.dtype !== null && (entry.dtype = 'f64') !== undefined,
  'another count': (_, entry) => entry.kind === 'allReduce' && ++entry.count > 0,
  'another op': (_, entry) => entry.op !== null && (entry.op = 'product') !== undefined,
  'another root': (_, entry) => entry.root !== null && (entry.root = 1) !== undefined,
  'an operation left out': (draft, entry) => {
    remove(draft, entry);
    return true;
  },
  'an operation too many': (draft, entry) => {
    if (entry.sends.length > 0 || entry.receives.length > 0) return false;
    const last = draft.operations
      .filter(({ group, sends, receives }) => group === entry.group && sends.length + receives.length === 0)
      .at(-1);
    const place = Math.max(...draft.operations.map(({ waited }) => waited ?? 0));
    draft.operations.push({ ...entry, sequence: (last?.sequence ?? 0) + 1, posted: place + 1, waited: place + 2 });
    return true;
  },
  'another size of a message': (_, entry) => {
    const [first] = entry.sends;
    if (first === undefined) return false;
    entry.sends = [{ ...first, count: first.count + 1 }];
    return true;
  },
  'another dtype of a message': (_, entry) => {
    const [first] = entry.receives;
    if (first === undefined) return false;
    entry.receives = [{ ...first, dtype: 'i64' }];
    return true;
  },
  'a wait left out': (_, entry) => (entry.waited = null) === null,
};

function problemsOf(world: RecordedWorld): readonly string[] {
  const { ok, problems } = verifyRecords(world.records());
  expect(ok).toBe(problems.length === 0);
  return problems;
}

describe('verifyRecords', () => {
  it('proves random worlds in which all follow one order', () => {
    for (let seed = 0; seed < 100; seed++) {
      const world = randomWorld(seed);
      const operations = world.drafts.reduce((sum, draft) => sum + draft.operations.length, 0);
      expect(verifyRecords(world.records()), `seed ${seed}`).toMatchObject({ ok: true, problems: [], operations });
    }
  });

  it.each(Object.keys(mutations))('reports %s in a random world, and names the rank', (name) => {
    let planted = 0;
    for (let seed = 0; seed < 40; seed++) {
      const random = randomNumbers(seed);
      const world = randomWorld(seed);
      const draft = world.draft(random(6));
      const candidates = shuffled([...draft.operations.keys()], random).map((at) => draft.operations[at] as Entry);
      if (!candidates.some((entry) => mutations[name]?.(draft, entry))) continue;
      planted++;
      const problems = problemsOf(world);
      expect(problems.length, `seed ${seed}`).toBeGreaterThan(0);
      // By itself: neither among those that agree nor only as a member of its group.
      const named = problems.join(' ').replaceAll(/\(ranks [^)]*\)/g, '');
      expect(named, `seed ${seed}`).toMatch(new RegExp(`\\brank ${draft.rank}\\b`));
    }
    expect(planted).toBeGreaterThan(20);
  });

  it('says what odd ranks call where the others call the same', () => {
    const world = new RecordedWorld(4);
    const dp = world.group('dp', [3, 2, 1, 0]);
    world.all(dp);
    world.all(dp, { label: 'grads' }, [0, 2]);
    world.call(1, dp, { kind: 'broadcast', root: 3 });
    expect(problemsOf(world)).toEqual([
      'rank 3 calls nothing more and rank 1 calls broadcast#2 f32[8] from group rank 3 on group dp (ranks 0-3) '
        + 'where ranks 0, 2 call allReduce#2 f32[8] sum (grads). Make all members call the same in the same order.',
    ]);
  });

  it('tells groups of equal name apart by ranks and instance', () => {
    const world = new RecordedWorld(2);
    world.call(0, world.group('g', [0, 1]));
    world.call(1, world.group('g', [0, 1], 1));
    world.call(1, world.group('g', [1, 0]));
    expect(verifyRecords(world.records())).toMatchObject({ groups: 3, operations: 3 });
    expect(problemsOf(world)).toHaveLength(3);
  });

  it('reports messages without their other end, and those whose ends differ', () => {
    const world = new RecordedWorld(3);
    const pp = world.group('pp', [0, 1, 2]);
    world.call(0, pp, { kind: 'send', sends: [message(1)] });
    world.call(2, pp, { kind: 'recv', receives: [message(1)] });
    world.call(0, pp, { kind: 'exchange', sends: [message(2, 1)], label: 'stage 0' });
    world.call(2, pp, { kind: 'recv', receives: [message(0, 2)] });
    expect(problemsOf(world)).toEqual([
      'rank 0 sends f32[4] in send#1 to rank 1 on group pp (ranks 0-2), which never receives it. Post the receive.',
      'rank 0 sends f32[1] in exchange#2 (stage 0) to rank 2 on group pp (ranks 0-2), which expects f32[2] in recv#2. '
        + 'Make the two agree on dtype, size and order.',
      'rank 2 expects f32[4] in recv#1 from rank 1 on group pp (ranks 0-2), which never sends it. Post the send.',
    ]);
  });

  it('finds the circle of waits across groups, and none when the ranks post before they wait', () => {
    const build = (posts: boolean) => {
      const world = new RecordedWorld(3);
      const [a, b, c] = [world.group('a', [0, 1]), world.group('b', [1, 2]), world.group('c', [2, 0])];
      for (const [rank, order] of [
        [a, c],
        [b, a],
        [c, b],
      ].entries()) {
        const entries = order.map((group) => (posts ? world.post(rank, group) : world.call(rank, group)));
        if (posts) for (const entry of entries) world.wait(rank, entry);
      }
      return world;
    };
    expect(problemsOf(build(true))).toEqual([]);
    expect(problemsOf(build(false))).toEqual([
      'deadlock: rank 0 waits in allReduce#1 f32[8] sum on group a for rank 1, which waits in allReduce#1 f32[8] sum on group b for rank 2, '
        + 'which waits in allReduce#1 f32[8] sum on group c for rank 0. Make these ranks call their operations in one order.',
    ]);
  });

  it('finds sends that wait for each other, since nothing is buffered, and takes the same as exchanges', () => {
    const build = (call: (peer: number) => Call[]) => {
      const world = new RecordedWorld(2);
      const pp = world.group('pp', [0, 1]);
      for (const rank of [0, 1]) for (const one of call(1 - rank)) world.call(rank, pp, one);
      return problemsOf(world);
    };
    expect(
      build((peer) => [
        { kind: 'send', sends: [message(peer)] },
        { kind: 'recv', receives: [message(peer)] },
      ]),
    ).toEqual([
      'deadlock: rank 0 waits in send#1 on group pp for rank 1, which waits in send#1 on group pp for rank 0. '
        + 'Make these ranks call their operations in one order.',
    ]);
    expect(build((peer) => [{ kind: 'exchange', sends: [message(peer)], receives: [message(peer)] }])).toEqual([]);
  });

  it('takes a message to oneself in one exchange, and finds the rank waiting for itself otherwise', () => {
    const world = new RecordedWorld(1);
    const self = world.group('self', [0]);
    world.call(0, self, { kind: 'exchange', sends: [message(0)], receives: [message(0)] });
    expect(problemsOf(world)).toEqual([]);
    world.call(0, self, { kind: 'send', sends: [message(0)] });
    world.call(0, self, { kind: 'recv', receives: [message(0)] });
    expect(problemsOf(world)).toEqual([
      'deadlock: rank 0 waits in send#2 on group self for rank 0. Make these ranks call their operations in one order.',
    ]);
  });

  it('takes a wait at the place of its post, as of a synchronous operation', () => {
    const world = new RecordedWorld(2);
    const tp = world.group('tp', [0, 1]);
    for (const entry of [...world.all(tp), ...world.all(tp)]) entry.waited = entry.posted;
    expect(problemsOf(world)).toEqual([]);
  });

  it('reports operations that nobody waits for', () => {
    const world = new RecordedWorld(2);
    const tp = world.group('tp', [0, 1]);
    world.all(tp);
    for (let at = 0; at < 3; at++) {
      world.call(0, tp);
      world.post(1, tp, { label: 'mlp' });
    }
    expect(problemsOf(world)).toEqual([
      'rank 1 never waits for allReduce#2 f32[8] (mlp) on group tp and 2 more. Wait for every operation.',
    ]);
  });

  it('refuses to prove from records that are not all there', () => {
    const world = randomWorld(1);
    world.draft(1).dropped = 7;
    world.draft(2).operations.shift();
    expect(verifyRecords(world.records({ without: [3, 4] })).problems).toEqual([
      'rank 1 has lost the first 7 operations of its record. Record with room for all of them.',
      expect.stringMatching(/^the record of rank 2 begins with \w+#2 .* on group \w+\. Record from the first operation on\.$/),
      'there is no record of ranks 3, 4. Pass the records of all ranks.',
    ]);
    expect(() => verifyRecords([])).toThrow('verifyRecords: there are no records. Pass one per rank.');
    const [first] = world.records() as [FlightRecord];
    expect(() => verifyRecords([first, first])).toThrow('verifyRecords: two records are of rank 0. Pass those of one run.');
    expect(() => verifyRecords([first, { ...first, rank: 1, job: 'run-2' }])).toThrow('Keep the records of one run.');
  });

  it('proves 1,024 ranks of 400 operations, and finds the one that is wrong', () => {
    const world = new RecordedWorld(1024);
    const [tp, pp] = [new Map<number, RecordedGroup>(), new Map<number, RecordedGroup>()];
    for (let first = 0; first < 1024; first += 8)
      tp.set(
        first,
        world.group(
          'tp',
          Array.from({ length: 8 }, (_, at) => first + at),
        ),
      );
    for (let first = 0; first < 64; first++)
      pp.set(
        first,
        world.group(
          'pp',
          Array.from({ length: 16 }, (_, at) => first + 64 * at),
        ),
      );
    for (let step = 0; step < 40; step++) {
      for (const group of tp.values()) for (let at = 0; at < 8; at++) world.all(group, { label: `layers.${at}` });
      for (const group of pp.values()) {
        for (const [stage, rank] of group.ranks.entries()) {
          if (stage > 0) world.call(rank, group, { kind: 'recv', receives: [message(stage - 1)] });
          if (stage < 15) world.call(rank, group, { kind: 'send', sends: [message(stage + 1)] });
        }
      }
    }
    const proof = verifyRecords(world.records().values());
    expect(proof).toMatchObject({ ok: true, groups: 192, operations: 1024 * 320 + 64 * 40 * 30 });
    (world.draft(777).operations[100] as Entry).dtype = 'f16';
    expect(problemsOf(world)).toEqual([expect.stringContaining('rank 777 calls')]);
  });
});
