import type { TraceEvent } from '@megatron-ts/process-groups';
import { expectBitwise, runRanks } from '@megatron-ts/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ColumnRun, type ColumnSetting, columnSettings } from './ranks/overlap.ts';

let ranks: { readonly fused: ColumnRun; readonly apart: ColumnRun }[][];

beforeAll(async () => {
  ranks = await runRanks(2, new URL('ranks/overlap.ts', import.meta.url), 'columnRuns');
});

interface Timed {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

function timed(events: readonly TraceEvent[], category: string): Timed[] {
  const found = events.filter(({ cat }) => cat === category);
  return found.map(({ name, ts = 0, dur = 0 }) => ({ name, start: ts, end: ts + dur })).sort((a, b) => a.start - b.start);
}

/** Traces of the fused layer with a setting, on all ranks. */
function tracesOf(setting: Partial<ColumnSetting>): (readonly TraceEvent[])[] {
  const isWanted = (own: ColumnSetting) => Object.entries(setting).every(([name, value]) => own[name as keyof ColumnSetting] === value);
  return columnSettings.flatMap((own, at) => (isWanted(own) ? ranks.map((runs) => runs[at]?.fused.trace.traceEvents ?? []) : []));
}

/** What happened in a backward, in the order of beginnings. */
function orderOf(events: readonly TraceEvent[]): string[] {
  const spans = ['backward', 'weight gradient', 'wait'].flatMap((category) => timed(events, category));
  return spans.sort((a, b) => a.start - b.start).map(({ name }) => name.replace(/ of .*/, ''));
}

describe('a column-parallel layer', () => {
  it('has the bits of its mapping and the product one after the other, in f32 and bf16, put off or not', () => {
    for (const runs of ranks)
      for (const { fused, apart } of runs) {
        expect(fused.values).toHaveLength(4);
        fused.values.forEach((values, i) => expectBitwise(values, apart.values[i] ?? []));
      }
  });

  it('waits for the sum of its input gradients when the weight gradient is there', () => {
    for (const events of tracesOf({ sequenceParallel: false, deferred: false }))
      expect(orderOf(events)).toEqual(['backward', 'weight gradient', 'wait for allReduce']);
  });

  it('under sequence parallelism gathers its input again beside the first product, and reduces beside the second', () => {
    for (const events of tracesOf({ sequenceParallel: true, deferred: false })) {
      expect(orderOf(events)).toEqual(['backward', 'wait for allGather', 'weight gradient', 'wait for reduceScatter']);
      const [gathered] = timed(events, 'wait');
      const [products] = timed(events, 'backward');
      expect(gathered?.end).toBeLessThanOrEqual(products?.end ?? 0);
    }
  });

  it('waits at once where weight gradients are put off', () => {
    for (const events of tracesOf({ sequenceParallel: false, deferred: true }))
      expect(orderOf(events)).toEqual(['backward', 'wait for allReduce', 'weight gradient']);
    for (const events of tracesOf({ sequenceParallel: true, deferred: true }))
      expect(orderOf(events)).toEqual(['backward', 'wait for reduceScatter', 'weight gradient', 'wait for allGather']);
  });

  it('shows its collectives in the trace, on a track of their own', () => {
    for (const events of tracesOf({ sequenceParallel: true, deferred: false })) {
      const collectives = events.filter(({ cat }) => cat === 'collective');
      expect(collectives.map(({ args, tid }) => [args?.['kind'], tid])).toEqual([
        ['allGather', 2],
        ['reduceScatter', 2],
      ]);
      expect(events.filter(({ ph }) => ph === 'M').map(({ args }) => args?.['name'])).toEqual([
        expect.stringMatching(/^rank [01] on /),
        'modules and backward',
        'waiting',
        'collectives',
      ]);
    }
  });
});
