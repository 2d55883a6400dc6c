import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** What one turn took. */
export interface Turn {
  /** Wall time in milliseconds. */
  readonly ms: number;
  /** Time its threads waited for a core, over the wall time. */
  readonly wait: number;
  /** What the turn computed, so that nobody wins by computing nothing. */
  readonly value: number;
}

/** What is known of a contestant before its first turn, and of its memory. */
export interface Introduction {
  /** Name and version. */
  readonly who: string;
}

/**
 * A process that waits for its turn: it reads `turn`, `memory`, `prepare` with a setting, or `end` from standard input, a line each, and
 * answers with one line of JSON. Only one of several contestants runs at any time.
 */
export class Contestant {
  /** What it called itself. */
  who = '';
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.child = child;
    if (child.stdout === null) throw new Error('bench: the contestant has no standard output. Spawn it with pipes.');
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Starts a program and waits until it is ready. */
  static async start(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Contestant> {
    const contestant = new Contestant(spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } }));
    contestant.who = ((await contestant.answer(command)) as Introduction).who;
    return contestant;
  }

  /** Lets it do one turn. */
  async turn(): Promise<Turn> {
    return (await this.ask('turn')) as Turn;
  }

  /** Tells it what its next turns are of. @param setting - as the program of both sides reads it */
  async prepare(setting: object): Promise<unknown> {
    return this.ask(`prepare ${JSON.stringify(setting)}`);
  }

  /** Most memory it has had resident, in bytes. */
  async peakBytes(): Promise<number> {
    return ((await this.ask('memory')) as { readonly peakBytes: number }).peakBytes;
  }

  /** Ends it. */
  end(): void {
    this.child.stdin?.end('end\n');
  }

  private async ask(line: string): Promise<unknown> {
    this.child.stdin?.write(`${line}\n`);
    return this.answer(line);
  }

  private async answer(asked: string): Promise<unknown> {
    const { value, done } = await this.lines.next();
    if (done === true)
      throw new Error(`bench: ${this.who || 'a contestant'} ended without an answer to "${asked}". Its message stands above.`);
    return JSON.parse(value) as unknown;
  }
}
