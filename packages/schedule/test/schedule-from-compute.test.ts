import { describe, expect, it } from 'vitest';
import {
  backward,
  backwardInput,
  backwardWeight,
  bidirectionalPlacement,
  checkSchedule,
  type ComputeStep,
  computeParts,
  describeAction,
  forward,
  interleavedPlacement,
  linearPlacement,
  oneForwardOneBackward,
  overlap,
  routeOf,
  scheduleFromCompute,
  simulate,
  stagesOfRank,
  stepsFromText,
  type StagePlacement,
  turningPlacement,
} from '../src/index.ts';
import { stepToText } from '../src/compute-notation.ts';

/** Whole numbers below `limit`, the same for the same seed. */
function seededDraws(seed: number): (limit: number) => number {
  let state = seed + 1;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Compute lists in an order drawn at random among those that can run: each turn, some rank takes some computation that is ready. */
function randomLists(placement: StagePlacement, numMicrobatches: number, draw: (limit: number) => number): ComputeStep[][] {
  const numStages = placement.routes[0]?.length ?? 0;
  const lists: ComputeStep[][] = Array.from({ length: 1 + Math.max(...placement.routes.flat().map(({ rank }) => rank)) }, () => []);
  const passes = Array.from({ length: numMicrobatches }, (_, microbatch) => {
    const isSplit = draw(2) === 0;
    const route = routeOf(placement, microbatch);
    const there = route.map((seat) => ({ seat, kinds: ['forward'] as const }));
    const back = route
      .toReversed()
      .map((seat) => ({ seat, kinds: isSplit ? (['backwardInput', 'backwardWeight'] as const) : (['backward'] as const) }));
    return { microbatch, todo: [...there, ...back] };
  });
  const weights: { rank: number; step: ComputeStep }[] = [];
  for (let left = numMicrobatches * numStages * 2; left > 0; ) {
    const ready = passes.filter(({ todo }) => todo.length > 0);
    const pick = draw(ready.length + (weights.length > 0 ? 1 : 0));
    const pass = ready[pick];
    if (pass === undefined) {
      const [weight] = weights.splice(draw(weights.length), 1);
      if (weight !== undefined) lists[weight.rank]?.push(weight.step);
      continue;
    }
    const {
      seat: { rank, chunk },
      kinds: [kind, late],
    } = pass.todo.shift() as (typeof pass.todo)[number];
    lists[rank]?.push({ kind, microbatch: pass.microbatch, chunk });
    if (late !== undefined) weights.push({ rank, step: { kind: late, microbatch: pass.microbatch, chunk } });
    left--;
  }
  for (const { rank, step } of weights) lists[rank]?.push(step);
  return lists;
}

describe('scheduleFromCompute', () => {
  it('adds communication without deadlock to any lists that can run, on any placement', () => {
    for (let seed = 0; seed < 300; seed++) {
      const draw = seededDraws(seed);
      const numRanks = 1 + draw(5);
      const placements = [
        linearPlacement(numRanks),
        interleavedPlacement(numRanks, 1 + draw(3)),
        turningPlacement(numRanks),
        bidirectionalPlacement(numRanks),
      ];
      const placement = placements[draw(placements.length)] as StagePlacement;
      const lists = randomLists(placement, 1 + draw(8), draw);
      const schedule = scheduleFromCompute(`random ${seed}`, lists, { placement });
      expect(checkSchedule(schedule).problems).toEqual([]);
      expect(
        schedule.ranks.map((actions) => actions.flatMap(computeParts).map(({ kind, microbatch, chunk }) => ({ kind, microbatch, chunk }))),
      ).toEqual(lists);
      expect(simulate(schedule, { channels: 'rendezvous' }).makespan).toBeGreaterThanOrEqual(simulate(schedule).makespan);
    }
  });

  it('sends the results of an overlapped pair in the order in which the receiver uses them', () => {
    const lists = ['F0a F0b [F1a+B0b] B0a F1b B1b B1a', 'F0a F0b B0b B0a F1a F1b B1b B1a'];
    const schedule = scheduleFromCompute('pair', lists, { placement: interleavedPlacement(2, 2) });
    expect(schedule.ranks[0]?.map(describeAction)).toContain(
      'send gradient of microbatch 0 to rank 1 and send activation of microbatch 1 to rank 1 '
        + 'and receive gradient of microbatch 0 from rank 1',
    );
  });

  it('takes steps or text', () => {
    const steps = [
      [forward(0), forward(1), backward(0), backward(1)],
      [forward(0), backward(0), forward(1), backward(1)],
    ];
    const fromSteps = scheduleFromCompute('1f1b', steps);
    expect(fromSteps).toEqual(scheduleFromCompute('1f1b', ['F0 F1 B0 B1', 'F0 B0 F1 B1']));
    expect(fromSteps).toEqual(oneForwardOneBackward({ numStages: 2, numMicrobatches: 2 }));
  });

  it('leaves out the transfer where two stages of a route stand on one rank', () => {
    const schedule = scheduleFromCompute('turn', ['F0a F0b B0b B0a'], { placement: turningPlacement(1) });
    expect(schedule.ranks[0]?.map(({ kind }) => kind)).toEqual(['forward', 'forward', 'backward', 'backward']);
    expect(schedule.numStages).toBe(2);
  });

  it('names the circle when lists wait for each other', () => {
    expect(() => scheduleFromCompute('mine', ['F0 B0 F1 B1', 'F1 B1 F0 B0'])).toThrow(
      'schedule "mine": the computations wait for each other: '
        + 'rank 0 at action 1 (backward of microbatch 0 on stage 0) waits for rank 1, '
        + 'rank 1 at action 0 (forward of microbatch 1 on stage 1) waits for rank 0. Put what the others wait for earlier.',
    );
  });

  it('refuses what no stage computes, words it does not know, chunks off the route, and empty lists', () => {
    expect(() => scheduleFromCompute('mine', ['F0 F1 B0 B1', 'F0 B0'])).toThrow(
      'schedule "mine": rank 1 action 2: microbatch 1 on stage 1 has no computation. It needs exactly one forward and one backward '
        + '(or its input and weight halves).',
    );
    expect(() => scheduleFromCompute('mine', ['F0 X0'])).toThrow(
      'schedule: "X0" is not a computation. Write F, B, I or W, the microbatch, and a letter for the chunk, as in F0, B12 or F3b.',
    );
    expect(() => scheduleFromCompute('mine', ['F0b B0'])).toThrow(
      'schedule "mine": rank 0 action 0: microbatch 0 does not pass chunk 1 of rank 0. Use a chunk on its route, or another placement.',
    );
    expect(() => scheduleFromCompute('mine', ['', ''])).toThrow(
      'schedule "mine": no rank computes anything. Give each rank a list of steps.',
    );
    expect(() => scheduleFromCompute('mine', ['B0 F0'])).toThrow(
      'schedule "mine": rank 0 action 0: backward of microbatch 0 on stage 0 stands before forward of microbatch 0 on stage 0. '
        + 'Put it behind.',
    );
  });
});

describe('stepsFromText', () => {
  it('reads what pictures show', () => {
    const steps = [forward(0), backwardInput(12), backwardWeight(12), overlap(forward(3), backward(1, 1))];
    const text = 'F0a I12a W12a [F3a+B1b]';
    expect(stepsFromText(text)).toEqual(steps);
    expect(steps.map((step) => stepToText(step, 2)).join(' ')).toBe(text);
  });
});

describe('placements', () => {
  it('tell which stages a rank holds', () => {
    expect([0, 1].map((rank) => stagesOfRank(linearPlacement(2), rank))).toEqual([[0], [1]]);
    expect([0, 1].map((rank) => stagesOfRank(interleavedPlacement(2, 2), rank))).toEqual([
      [0, 2],
      [1, 3],
    ]);
    expect([0, 1].map((rank) => stagesOfRank(turningPlacement(2), rank))).toEqual([
      [0, 3],
      [1, 2],
    ]);
    expect([0, 1].map((rank) => stagesOfRank(bidirectionalPlacement(2), rank))).toEqual([
      [0, 1],
      [1, 0],
    ]);
  });
});
