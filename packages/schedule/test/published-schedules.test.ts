import { describe, expect, it } from 'vitest';
import { checkSchedule, gpipe, oneForwardOneBackward, simulate } from '../src/index.ts';
import { publishedSchedule, publishedSchedules } from './published-tables.ts';

describe.each(publishedSchedules)('$name, as published for 4 ranks', (published) => {
  it('is proven free of deadlock on rendezvous channels once its exchanges are inserted', () => {
    expect(checkSchedule(publishedSchedule(published)).problems).toEqual([]);
  });

  it('takes the published time and memory', () => {
    const schedule = publishedSchedule(published);
    const { makespan, ranks } = simulate(schedule);
    expect({ makespan, span: Math.max(...ranks.map(({ span }) => span)), peaks: checkSchedule(schedule).peakActivations }).toEqual({
      makespan: published.makespan,
      span: published.span,
      peaks: published.peaks,
    });
  });
});

describe('the generators', () => {
  it('give the published 1F1B', () => {
    const [published] = publishedSchedules;
    expect(published && publishedSchedule(published).ranks).toEqual(oneForwardOneBackward({ numStages: 4, numMicrobatches: 8 }).ranks);
  });

  it('give the published times of GPipe', () => {
    const schedule = gpipe({ numStages: 4, numMicrobatches: 8 });
    const { makespan, bubble, ranks } = simulate(schedule);
    expect(makespan).toBe(33);
    expect(ranks.map(({ idle }) => idle)).toEqual([9, 9, 9, 9]);
    expect(bubble).toBeCloseTo(3 / 11, 12);
    expect(checkSchedule(schedule).peakActivations).toEqual([8, 8, 8, 8]);
  });
});
