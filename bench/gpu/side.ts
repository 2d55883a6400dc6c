import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A question; its answer is one line of JSON. */
export type Question = { readonly do: string } & Readonly<Record<string, unknown>>;

/** How a side is started. */
export interface SideOptions {
  readonly args: readonly string[];
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

const keptOfStderr = 4000;

/**
 * A program that answers questions, a line of JSON each. It is started with its first question, and again after one that killed it: a
 * kernel that fails ends a device's context, and must not take the rows after it along.
 */
export class Side {
  private child: ChildProcess | undefined;
  private lines: AsyncIterator<string> | undefined;
  private said = '';
  private readonly command: string;
  private readonly options: SideOptions;

  constructor(command: string, options: SideOptions) {
    this.command = command;
    this.options = options;
  }

  /**
   * The answer to a question.
   * @throws Error with the side's own sentence where it refuses, and with one of ours where it ended or did not answer in time
   */
  async ask<A>(question: Question, limitMs: number): Promise<A> {
    if (this.child === undefined) this.start();
    this.child?.stdin?.write(`${JSON.stringify(question)}\n`);
    const line = await this.lineWithin(limitMs);
    if (line === undefined) {
      await this.end(true);
      throw new Error(
        `no answer to "${question.do}" came within ${Math.round(limitMs / 1000)} s, and the process was killed.${this.tail()}`,
      );
    }
    if (line === null) {
      const code = this.child?.exitCode ?? this.child?.signalCode;
      await this.end(true);
      throw new Error(`the process ended (${code ?? 'no status'}) before it answered "${question.do}".${this.tail()}`);
    }
    const answer = JSON.parse(line) as A & { readonly error?: string; readonly isFatal?: boolean };
    if (answer.error === undefined) return answer;
    if (answer.isFatal === true) await this.end(true);
    throw new Error(answer.error);
  }

  /** Ends the process, at once or after it has read that it shall. */
  async end(atOnce = false): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    this.child = undefined;
    this.lines = undefined;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    if (atOnce) child.kill('SIGKILL');
    else child.stdin?.end();
    const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
    await ended;
    clearTimeout(late);
  }

  private start(): void {
    this.said = '';
    const env = { ...process.env, ...this.options.env };
    const child = spawn(this.command, this.options.args, { stdio: 'pipe', env });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.said = (this.said + text).slice(-keptOfStderr);
    });
    child.stdin.on('error', () => undefined); // it ended: the missing answer tells
    child.on('error', ({ message }) => {
      this.said += message;
    });
    this.child = child;
    this.lines = jsonLines(child);
  }

  /** The next line; null when there is none any more, undefined when it does not come in time. */
  private async lineWithin(limitMs: number): Promise<string | null | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), limitMs);
    });
    const next = this.lines?.next().then(({ value, done }) => (done === true ? null : value));
    const line = await Promise.race([next, late]);
    clearTimeout(timer);
    return line;
  }

  private tail(): string {
    const said = this.said.trim();
    return said === '' ? '' : ` It said: ${said.split('\n').slice(-12).join(' / ')}`;
  }
}

/** The lines that are answers; libraries may write others. */
async function* jsonLines({ stdout }: ChildProcess): AsyncGenerator<string, undefined> {
  if (stdout === null) return undefined;
  for await (const line of createInterface({ input: stdout })) if (line.startsWith('{')) yield line;
  return undefined;
}
