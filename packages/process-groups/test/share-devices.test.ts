import { describe, expect, it } from 'vitest';
import { placeAmongSharers, warningOf } from '../src/share-devices.ts';

describe('ranks that share devices', () => {
  const places = (...seats: readonly (readonly [host: number, socket: number])[]) => {
    const all = seats.map(([host, socket]) => ({ host, socket }));
    return all.map((_, rank) => placeAmongSharers(all, rank));
  };

  it('are numbered by device, so that those of one number have devices of their own', () => {
    expect(places([1, 0], [1, 1], [1, 0], [1, 1])).toEqual([0, 0, 1, 1]);
    expect(places([1, 7], [1, 7], [1, 7])).toEqual([0, 1, 2]);
  });

  it('are left alone where each has its own, on whichever host', () => {
    expect(places([1, 0], [1, 1], [2, 0], [2, 1])).toEqual([undefined, undefined, undefined, undefined]);
    expect(places([1, 0], [1, 0], [2, 0], [2, 1])).toEqual([0, 1, undefined, undefined]);
  });

  it('are named by the first of them on a host', () => {
    const seats = [7, 8, 7].map((socket) => ({ host: 1, socket }));
    expect(warningOf(seats, 0)).toBe(
      'initializeModelParallel: ranks 0, 1, 2 share 2 devices of their host and take turns there, which is for trying out layouts. '
        + 'Start one rank for each device.',
    );
    expect(warningOf(seats, 2)).toBeUndefined();
  });
});
