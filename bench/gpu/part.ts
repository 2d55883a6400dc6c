import { type Row, RowFile } from './row-file.ts';
import { Side } from './side.ts';

/** What a part is run with. */
export interface PartSettings {
  /** Where results go. */
  readonly out: string;
  /** Shapes that a fake device computes in seconds. */
  readonly isTiny: boolean;
  /** Only rows whose name holds this. */
  readonly only: string;
  /** The interpreter with PyTorch. */
  readonly python: string;
  /** How long a part may take: rows that would begin later say so. */
  readonly limitMs: number;
}

/** The beginning of the sentence of a row that the time did not suffice for. */
const outOfTime = 'the time of this part was used up before it';

/** A part while it runs: its rows, its clock, and the programs it asks. */
export class Part {
  /** What it was started with. */
  readonly settings: PartSettings;
  private readonly file: RowFile;
  private readonly started = performance.now();
  private readonly sides = new Set<Side>();

  constructor(number: number, title: string, settings: PartSettings) {
    this.settings = settings;
    this.file = new RowFile(settings.out, { part: number, title });
  }

  /** Milliseconds that are left. */
  get left(): number {
    return this.settings.limitMs - (performance.now() - this.started);
  }

  /** One of our programs, beside this one; they need no packages but those of the pack. */
  ours(program: string, env: Readonly<Record<string, string>> = {}): Side {
    return this.keep(new Side(process.execPath, { args: ['--expose-gc', here(program)], env }));
  }

  /** A program of PyTorch. */
  peer(program: string): Side {
    return this.keep(new Side(this.settings.python, { args: [here(`peers/${program}`)], env: { PYTHONDONTWRITEBYTECODE: '1' } }));
  }

  /** Keeps a program, to be ended with the part. */
  keep(side: Side): Side {
    this.sides.add(side);
    return side;
  }

  /** A row of what `f` returns, or of the sentence of what it throws. Left out when another name was asked for. */
  async row(name: string, f: () => object | Promise<object>): Promise<void> {
    if (!name.includes(this.settings.only)) return;
    this.file.add(await this.tried(name, f));
  }

  /** A row that is known already. */
  add(row: Row): void {
    if (row.name.includes(this.settings.only)) this.file.add(row);
  }

  /** Ends the programs, and writes the result. @returns how many rows are errors */
  async end(): Promise<number> {
    await Promise.all([...this.sides].map((side) => side.end()));
    return this.file.end();
  }

  private async tried(name: string, f: () => object | Promise<object>): Promise<Row> {
    if (this.left < 2000) return { name, error: `${outOfTime}. Run the part again with --only "${name}".` };
    try {
      return { name, ...(await f()) };
    } catch (cause) {
      return { name, error: sentenceOf(cause) };
    }
  }
}

/** What a row says of an error: a compiler's log is cut off after its first lines. */
function sentenceOf(cause: unknown): string {
  const lines = (cause as Error).message.split('\n');
  return lines.slice(0, 4).join(' / ').slice(0, 900);
}

/** The path of a file beside the bundled programs. */
export function here(name: string): string {
  return new URL(name, import.meta.url).pathname;
}
