import { describe, expect, it } from 'vitest';
import { drawSchedule, gpipe, oneForwardOneBackward, scheduleFromCompute, simulate, turningPlacement } from '../src/index.ts';
import { singleSends } from './single-sends.ts';

describe('simulate', () => {
  it('adds the transfer time once per stage on the way there and back', () => {
    expect(simulate(gpipe({ numStages: 3, numMicrobatches: 1 }), { transfer: 0.5 }).makespan).toBe(9 + 4 * 0.5);
  });

  it('takes a cost per stage', () => {
    expect(simulate(gpipe({ numStages: 2, numMicrobatches: 3 }), { forward: [1, 4], backward: 1 }).makespan).toBe(1 + 3 * 4 + 3 + 1);
  });

  it('lets overlapped pairs hide part of the shorter one', () => {
    const schedule = scheduleFromCompute('pair', ['F0 [F1+B0] B1']);
    expect(simulate(schedule).makespan).toBe(6);
    expect(simulate(schedule, { overlap: 0.5 }).makespan).toBe(5.5);
  });

  it('makes a sender wait for its receiver on rendezvous channels alone', () => {
    const schedule = scheduleFromCompute('late receiver', ['F0 F1 B0 B1', 'F0 F1 B0 B1']);
    const slow = { forward: [1, 5], backward: 1 };
    expect(simulate(schedule, slow).ranks[0]?.timeline[2]?.start).toBe(1);
    expect(simulate(schedule, { ...slow, channels: 'rendezvous' }).ranks[0]?.timeline.at(-1)?.end).toBe(simulate(schedule, slow).makespan);
    expect(simulate(schedule, { ...slow, channels: 'rendezvous' }).makespan).toBe(1 + 5 + 5 + 1 + 1 + 1);
  });

  it('says why a schedule stops', () => {
    expect(() => simulate(singleSends({ numStages: 2, numMicrobatches: 2 }), { channels: 'rendezvous' })).toThrow('deadlock');
  });
});

describe('drawSchedule', () => {
  it('draws a line per rank, each computation as long as it takes', () => {
    expect(drawSchedule(oneForwardOneBackward({ numStages: 2, numMicrobatches: 3 }))).toBe(
      [
        '1f1b: 2 stages, 3 microbatches, makespan 12, bubble 25 %',
        'rank 0 F0 F1 .  .  B0--- F2 B1--- .  B2---',
        'rank 1 .  F0 B0--- F1 B1--- F2 B2--- .  .',
      ].join('\n'),
    );
  });

  it('names chunks and overlapped pairs', () => {
    expect(drawSchedule(scheduleFromCompute('turn', ['F0a F0b [F1a+I0b] F1b W0b B0a B1b B1a'], { placement: turningPlacement(1) }))).toBe(
      [
        'turn: 2 stages, 2 microbatches, makespan 12, bubble 0 %',
        'rank 0 F0a       F0b       [F1a+I0b]---------- F1b       W0b       B0a---------------- B1b---------------- B1a----------------',
      ].join('\n'),
    );
  });
});
