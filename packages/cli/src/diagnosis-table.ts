import type { DiagnosisRow } from '@megatron-ts/flight-recorder';

/** Rows that are shown of a large world. */
const mostRows = 32;

const heads = ['rank', 'host', 'group', 'last completed', 'in hand', 'state', 'age'];

/** Rows as text, outliers first and marked with `>`, at most 32; says how many are left out. */
export function diagnosisTable(rows: readonly DiagnosisRow[]): string {
  const sorted = [...rows].sort((a, b) => Number(b.isOutlier) - Number(a.isOutlier) || a.rank - b.rank);
  const shown = sorted.slice(0, mostRows);
  const cells = [heads, ...shown.map(cellsOf)];
  const widths = heads.map((_, column) => Math.max(...cells.map((row) => (row[column] as string).length)));
  const lines = cells.map((row, line) => {
    const mark = shown[line - 1]?.isOutlier === true ? '>' : ' ';
    return `${mark} ${row.map((cell, column) => (column === 0 ? cell.padStart(widths[0] as number) : cell.padEnd(widths[column] as number))).join('  ')}`;
  });
  const leftOut = rows.length - shown.length;
  if (leftOut > 0) lines.push(`  ${leftOut} more ${leftOut === 1 ? 'rank is' : 'ranks are'} not shown.`);
  return lines.map((line) => line.trimEnd()).join('\n');
}

function cellsOf({ rank, host, group, lastCompleted, inHand, state, ageMs }: DiagnosisRow): string[] {
  return [String(rank), host ?? '-', group ?? '-', lastCompleted ?? '-', inHand ?? '-', state, ageMs === null ? '-' : ageText(ageMs)];
}

function ageText(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
