import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brief, type PartResult, readPart, type Row } from './row-file.ts';

/** Fields that are for the JSON alone. */
const isHidden = (value: unknown) => typeof value === 'object' || (typeof value === 'string' && value.length > 120);

/** Makes one page of all parts in a folder, `report.md`, and returns its path. */
export function report(folder: string, parts: number): string {
  const found = Array.from({ length: parts }, (_, at) => readPart(folder, at + 1));
  const missing = found.flatMap((part, at) => (part === undefined ? [at + 1] : []));
  const sections = found.flatMap((part) => (part === undefined ? [] : sectionOf(part)));
  const absent = missing.length === 0 ? [] : [`Parts that were not run: ${missing.join(', ')}.`, ''];
  const path = join(folder, 'report.md');
  writeFileSync(path, ['# What the GPU pack found', '', ...absent, ...sections].join('\n'));
  return path;
}

function sectionOf({ part, title, isWhole, seconds, rows }: PartResult): string[] {
  const done = rows.filter(({ error }) => error === undefined);
  const undone = rows.filter(({ error }) => error !== undefined);
  const end = isWhole ? `${brief(seconds)} s` : 'killed before its end';
  const apart = done.filter((row) => row['isClose'] === false);
  const verdict = part === 2 ? [`${apart.length} of ${done.length} rows are further apart than their tolerance.`, ''] : [];
  return [
    `## Part ${part}: ${title}`,
    '',
    `${rows.length} rows, ${undone.length} of them not done; ${end}.`,
    '',
    ...verdict,
    ...groups(done).flatMap(table),
    ...(undone.length === 0 ? [] : ['Not done:', '', ...undone.map(({ name, error }) => `- ${name}: ${cell(error)}`), '']),
  ];
}

const columnsOf = (row: Row) =>
  Object.entries(row)
    .filter(([, value]) => !isHidden(value))
    .map(([key]) => key);

/** Rows of the same fields, in the order of their first. */
function groups(rows: readonly Row[]): (readonly Row[])[] {
  const found = new Map<string, Row[]>();
  for (const row of rows) {
    const key = columnsOf(row).join(' ');
    found.set(key, [...(found.get(key) ?? []), row]);
  }
  return [...found.values()];
}

function table(rows: readonly Row[]): string[] {
  const columns = columnsOf(rows[0] as Row);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map((row) => line(columns.map((column) => cell(row[column])))), ''];
}

function cell(value: unknown): string {
  return brief(value).replaceAll('|', '\\|').replaceAll('\n', ' ');
}
