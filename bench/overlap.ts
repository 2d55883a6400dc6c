import { runRanks } from '@megatron-ts/core/testing';
import type { OverlapSetting, OverlapTimes } from './overlap-ranks.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { median } from './statistics.ts';

/** Settings of the bench. */
export interface OverlapOptions {
  /** Backwards of each row; 15 by default. */
  readonly pairs?: number;
}

const settings: readonly OverlapSetting[] = [256, 768].flatMap((hidden) =>
  [false, true].flatMap((isCut) => [false, true].map((isOverlapped) => ({ hidden, tokens: 1024, isCut, isOverlapped }))),
);

/**
 * How much of a column-parallel layer's communication in backward is hidden behind its products: the time for which collectives were under
 * way beside the time for which ranks did nothing but wait for them, from a trace of each backward. Two ranks of one thread, whose
 * collectives need cores too: on as many cores as ranks, what is hidden as waiting is in part paid as slower products.
 */
export async function overlap({ pairs = 15 }: OverlapOptions): Promise<Report> {
  process.env['MEGATRON_THREADS'] = '1';
  const url = new URL('overlap-ranks.ts', import.meta.url);
  const ranks = await runRanks<OverlapTimes[][]>(2, url, 'overlapTimes', { args: [settings, pairs] });
  return reportOf(
    'overlap',
    settings.map((setting, at) =>
      rowOf(
        setting,
        ranks.flatMap((runs) => runs[at] ?? []),
      ),
    ),
  );
}

function rowOf({ hidden, tokens, isCut, isOverlapped }: OverlapSetting, times: readonly OverlapTimes[]): Row {
  const medianOf = (measure: (times: OverlapTimes) => number) => median(times.map(measure));
  const row = {
    name: `hidden ${hidden}, ${tokens} tokens, ${isCut ? 'cut sequence' : 'whole stream'}, ${isOverlapped ? 'overlapped' : 'one after the other'}`,
    unit: 'ms',
    ours: medianOf(({ waited }) => waited),
    peer: null,
    ratio: null,
    underWay: medianOf(({ underWay }) => underWay),
    backward: medianOf(({ whole }) => whole),
    hiddenPercent: medianOf(({ waited, underWay }) => 100 * Math.max(0, 1 - waited / underWay)),
  };
  process.stderr.write(`bench: ${row.name}: ${row.hiddenPercent.toFixed(0)} % of the communication is hidden\n`);
  return row;
}
