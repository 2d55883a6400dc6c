import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** One thing that was tried: what came of it, or in `error` the sentence of why nothing did. */
export type Row = { readonly name: string; readonly error?: string } & Readonly<Record<string, unknown>>;

/** What is known of a part. */
export interface PartResult {
  /** Number of the part. */
  readonly part: number;
  /** What it does. */
  readonly title: string;
  /** Whether it came to its end; otherwise it was killed, and these are the rows it had. */
  readonly isWhole: boolean;
  /** How long it took, where it came to its end. */
  readonly seconds?: number;
  /** In the order in which they came. */
  readonly rows: readonly Row[];
}

const linesOf = (folder: string, part: number) => join(folder, `part-${part}.rows.jsonl`);
const resultOf = (folder: string, part: number) => join(folder, `part-${part}.json`);

/**
 * The rows of one part. Each is appended to a file of lines as it comes, so that a part that is killed keeps what it has; `end` makes one
 * JSON of them.
 */
export class RowFile {
  private readonly rows: Row[] = [];
  private readonly started = performance.now();
  private readonly folder: string;
  private readonly part: number;
  private readonly title: string;

  constructor(folder: string, { part, title }: { readonly part: number; readonly title: string }) {
    this.folder = folder;
    this.part = part;
    this.title = title;
    mkdirSync(folder, { recursive: true });
    rmSync(resultOf(folder, part), { force: true });
    writeFileSync(linesOf(folder, part), `${JSON.stringify({ part, title })}\n`);
  }

  /** Writes a row down, and a line of it to the terminal. */
  add(row: Row): void {
    this.rows.push(row);
    appendFileSync(linesOf(this.folder, this.part), `${JSON.stringify(row)}\n`);
    process.stdout.write(`${lineOf(row)}\n`);
  }

  /** Makes `part-N.json` of the rows. @returns how many rows are errors */
  end(): number {
    const seconds = Math.round(performance.now() - this.started) / 1000;
    const result: PartResult = { part: this.part, title: this.title, isWhole: true, seconds, rows: this.rows };
    writeFileSync(resultOf(this.folder, this.part), `${JSON.stringify(result, null, 1)}\n`);
    rmSync(linesOf(this.folder, this.part));
    return this.rows.filter(({ error }) => error !== undefined).length;
  }
}

/** What a folder has of a part: its result, or the lines of one that was killed; undefined when it never began. */
export function readPart(folder: string, part: number): PartResult | undefined {
  const whole = textOf(resultOf(folder, part));
  if (whole !== undefined) return JSON.parse(whole) as PartResult;
  const [head, ...lines] = textOf(linesOf(folder, part))?.trim().split('\n') ?? [];
  if (head === undefined) return undefined;
  // The last line may have been cut off.
  const rows = lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as Row];
    } catch {
      return [];
    }
  });
  return { ...(JSON.parse(head) as { part: number; title: string }), isWhole: false, rows };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** A number as people read it. */
export function brief(value: unknown): string {
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : value.toPrecision(4);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** A row on one line; long lists are for the file alone. */
function lineOf({ name, error, ...fields }: Row): string {
  const told = Object.entries(fields).filter(([, value]) => typeof value !== 'object' && String(value).length < 100);
  const words = told.map(([key, value]) => `${key} ${brief(value)}`);
  return [name, ...(error === undefined ? words : [`NOT DONE: ${error}`])].join('  ');
}
