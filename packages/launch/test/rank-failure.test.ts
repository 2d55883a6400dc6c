import { describe, expect, it } from 'vitest';
import { firstFailure } from '../src/rank-failure.ts';
import type { RankEnd } from '../src/rank-process.ts';

const end = (rank: number, given: Partial<RankEnd>): RankEnd => ({
  rank,
  pid: 100 + rank,
  code: 0,
  signal: null,
  time: 1000,
  report: undefined,
  lastLine: undefined,
  ...given,
});
const report = (time: number, code?: string) => ({ name: 'ConfigError', message: 'no', code, time });

describe('the first failure of a run', () => {
  it('is the error raised first, even where our signal came before its exit', () => {
    const ends = [
      end(0, { code: null, signal: 'SIGTERM', time: 1100, report: report(900) }),
      end(1, { code: 1, time: 1000, report: report(950) }),
    ];
    expect(firstFailure(ends, 1001)).toEqual({ rank: 0, code: 1, signal: null, message: 'ConfigError: no' });
  });

  it('is not a rank that we ended', () => {
    const ends = [end(0, { code: null, signal: 'SIGTERM', time: 1100 }), end(1, { code: 7, lastLine: 'giving up' })];
    expect(firstFailure(ends, 1001)).toEqual({ rank: 1, code: 7, signal: null, message: 'giving up' });
  });

  it('is the lost peer, not the ranks that tell of it', () => {
    const ends = [end(0, { code: 1, time: 900, report: report(900, 'PEER_LOST') }), end(1, { code: null, signal: 'SIGKILL', time: 950 })];
    expect(firstFailure(ends, 960)).toEqual({ rank: 1, code: null, signal: 'SIGKILL', message: undefined });
  });

  it('is none where all ranks ended well', () => {
    expect(firstFailure([end(0, {}), end(1, {})], Number.POSITIVE_INFINITY)).toBeUndefined();
  });
});
