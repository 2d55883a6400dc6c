import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describeMachine, type Machine } from './machine.ts';

/** One measure, ours beside a peer's. More columns may follow; a column `unit` says what `ours` and `peer` are. */
export interface Row {
  /** What was measured. */
  readonly name: string;
  /** Unit of `ours` and `peer`; less is better. */
  readonly unit: string;
  /** Our value. */
  readonly ours: number;
  /** The peer's value; null where there is none to compare with. */
  readonly peer: number | null;
  /** The peer's value over ours: above 1 we are better. */
  readonly ratio: number | null;
  readonly [column: string]: string | number | null;
}

/** What a bench gives. */
export interface Report {
  /** Name on the command line. */
  readonly name: string;
  /** Where it ran. */
  readonly machine: Machine;
  /** What it measured. */
  readonly rows: readonly Row[];
}

/** A report of rows measured here. */
export function reportOf(name: string, rows: readonly Row[]): Report {
  return { name, machine: describeMachine(), rows };
}

/** The report as a table for people. */
export function formatReport({ name, machine, rows }: Report): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = [columns, ...rows.map((row) => columns.map((column) => cellOf(row[column])))];
  const widths = columns.map((_, at) => Math.max(...cells.map((line) => line[at]?.length ?? 0)));
  const table = cells.map((line) => line.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))));
  const { cpu, cores, memoryGiB, vectors, platform, node } = machine;
  const place = `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${vectors}, ${platform}, Node ${node}`;
  return [`${name} (${place})`, ...table.map((line) => line.join('  ').trimEnd())].join('\n');
}

function cellOf(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return '-';
  if (typeof value === 'string' || Number.isInteger(value)) return String(value);
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 3);
}

/** Puts the report into `bench/results/<date>-<machine>.json`, in place of one of the same name. @returns the path */
export function saveReport(report: Report): string {
  const { cpu, cores } = report.machine;
  const machine = `${cpu} ${cores} cores`.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  const folder = new URL('results/', import.meta.url);
  const file = new URL(`${new Date().toISOString().slice(0, 10)}-${machine}.json`, folder);
  mkdirSync(folder, { recursive: true });
  const others = savedReports(file).filter(({ name }) => name !== report.name);
  writeFileSync(file, `${JSON.stringify([...others, report], null, 2)}\n`);
  return file.pathname;
}

function savedReports(file: URL): Report[] {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report[];
  } catch {
    return [];
  }
}
