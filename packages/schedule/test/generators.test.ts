import { describe, expect, it } from 'vitest';
import {
  checkSchedule,
  computeParts,
  describeAction,
  forwardOnly,
  gpipe,
  oneForwardOneBackward,
  type PipelineOptions,
  type Schedule,
  simulate,
} from '../src/index.ts';
import { stepToText } from '../src/compute-notation.ts';

/** Every pipeline of 1 to 8 stages and 1 to 20 microbatches. */
function* pipelines(): Generator<PipelineOptions> {
  for (let numStages = 1; numStages <= 8; numStages++) {
    for (let numMicrobatches = 1; numMicrobatches <= 20; numMicrobatches++) yield { numStages, numMicrobatches };
  }
}

function computeLists({ ranks, numChunks }: Schedule): string[] {
  return ranks.map((actions) =>
    actions
      .flatMap(computeParts)
      .map((part) => stepToText(part, numChunks))
      .join(' '),
  );
}

function words({ ranks }: Schedule, rank: number): string[] {
  return (ranks[rank] ?? []).map(describeAction);
}

describe.each([
  { name: 'gpipe', generate: gpipe },
  { name: 'oneForwardOneBackward', generate: oneForwardOneBackward },
  { name: 'forwardOnly', generate: forwardOnly },
])('$name', ({ name, generate }) => {
  it('is proven free of mistakes and deadlock for 1 to 8 stages and 1 to 20 microbatches', () => {
    for (const sizes of pipelines()) {
      const report = checkSchedule(generate(sizes));
      expect(report.problems).toEqual([]);
      expect(report.ordered).toBe(true);
    }
  });

  it('takes as long on rendezvous channels as on buffered ones', () => {
    for (const sizes of pipelines()) {
      const schedule = generate(sizes);
      expect(simulate(schedule, { channels: 'rendezvous' })).toEqual(simulate(schedule, { channels: 'buffered' }));
    }
  });

  it('has one exchange at most between two computations', () => {
    for (const sizes of pipelines()) {
      for (const actions of generate(sizes).ranks) {
        for (const [index, action] of actions.entries())
          if (action.kind === 'exchange') expect(actions[index + 1]?.kind).not.toBe('exchange');
      }
    }
  });

  it('is frozen all the way down', () => {
    const schedule = generate({ numStages: 2, numMicrobatches: 2 });
    const exchange = schedule.ranks[0]?.find((action) => action.kind === 'exchange');
    for (const part of [schedule, schedule.ranks, schedule.ranks[0], exchange, exchange?.transfers[0]])
      expect(Object.isFrozen(part)).toBe(true);
  });

  it('refuses sizes that are not whole numbers of at least 1', () => {
    expect(() => generate({ numStages: 0, numMicrobatches: 2 })).toThrow(`${name}: numStages is 0. Use a whole number of at least 1.`);
    expect(() => generate({ numStages: 2, numMicrobatches: 1.5 })).toThrow(
      `${name}: numMicrobatches is 1.5. Use a whole number of at least 1.`,
    );
  });
});

describe('gpipe', () => {
  it('runs all forward passes, then all backward passes, and holds every microbatch', () => {
    const schedule = gpipe({ numStages: 2, numMicrobatches: 3 });
    expect(computeLists(schedule)).toEqual(['F0 F1 F2 B0 B1 B2', 'F0 F1 F2 B0 B1 B2']);
    expect(checkSchedule(schedule).peakActivations).toEqual([3, 3]);
  });

  it('idles for (numStages - 1) forward and backward passes, whatever they cost', () => {
    for (const { numStages, numMicrobatches } of pipelines()) {
      const { makespan, ranks } = simulate(gpipe({ numStages, numMicrobatches }), { forward: 2, backward: 3 });
      expect(makespan).toBe((numStages - 1 + numMicrobatches) * 5);
      expect(ranks.map(({ idle }) => idle)).toEqual(ranks.map(() => (numStages - 1) * 5));
    }
  });
});

describe('oneForwardOneBackward', () => {
  it('fills, alternates and drains', () => {
    expect(computeLists(oneForwardOneBackward({ numStages: 4, numMicrobatches: 8 }))).toEqual([
      'F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7',
      'F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7',
      'F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 B7',
      'F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7',
    ]);
  });

  it('fuses "send forward" with "receive backward" in the steady state', () => {
    const schedule = oneForwardOneBackward({ numStages: 2, numMicrobatches: 3 });
    expect(words(schedule, 0)).toEqual([
      'forward of microbatch 0 on stage 0',
      'send activation of microbatch 0 to rank 1',
      'forward of microbatch 1 on stage 0',
      'send activation of microbatch 1 to rank 1 and receive gradient of microbatch 0 from rank 1',
      'backward of microbatch 0 on stage 0',
      'forward of microbatch 2 on stage 0',
      'send activation of microbatch 2 to rank 1 and receive gradient of microbatch 1 from rank 1',
      'backward of microbatch 1 on stage 0',
      'receive gradient of microbatch 2 from rank 1',
      'backward of microbatch 2 on stage 0',
    ]);
    expect(words(schedule, 1)).toEqual([
      'receive activation of microbatch 0 from rank 0',
      'forward of microbatch 0 on stage 1',
      'backward of microbatch 0 on stage 1',
      'send gradient of microbatch 0 to rank 0 and receive activation of microbatch 1 from rank 0',
      'forward of microbatch 1 on stage 1',
      'backward of microbatch 1 on stage 1',
      'send gradient of microbatch 1 to rank 0 and receive activation of microbatch 2 from rank 0',
      'forward of microbatch 2 on stage 1',
      'backward of microbatch 2 on stage 1',
      'send gradient of microbatch 2 to rank 0',
    ]);
  });

  it('receives right before use, so that no rank holds an activation early', () => {
    for (const sizes of pipelines()) {
      for (const actions of oneForwardOneBackward(sizes).ranks) {
        for (const [index, action] of actions.entries()) {
          for (const transfer of action.kind === 'exchange' ? action.transfers.filter(({ direction }) => direction === 'receive') : []) {
            const [next] = computeParts(actions[index + 1] ?? action);
            expect([next?.microbatch, next?.kind]).toEqual([
              transfer.microbatch,
              transfer.payload === 'activation' ? 'forward' : 'backward',
            ]);
          }
        }
      }
    }
  });

  it('holds at most numStages - stage microbatches, takes as long as GPipe, and idles as long', () => {
    for (const sizes of pipelines()) {
      const { numStages, numMicrobatches } = sizes;
      const schedule = oneForwardOneBackward(sizes);
      expect(checkSchedule(schedule).peakActivations).toEqual(
        schedule.ranks.map((_, stage) => Math.min(numMicrobatches, numStages - stage)),
      );
      expect(simulate(schedule).makespan).toBe(simulate(gpipe(sizes)).makespan);
    }
  });
});

describe('forwardOnly', () => {
  it('has no backward pass and keeps no activation', () => {
    const schedule = forwardOnly({ numStages: 3, numMicrobatches: 4 });
    expect(schedule.forwardOnly).toBe(true);
    expect(computeLists(schedule)).toEqual(Array.from({ length: 3 }, () => 'F0 F1 F2 F3'));
    expect(schedule.peakActivations).toEqual([1, 1, 1]);
  });
});
