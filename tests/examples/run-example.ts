import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../../packages/core/bin/megatron-ts.js', import.meta.url));

/** What came of a program. */
export interface ProgramEnd {
  readonly code: number | null;
  readonly stderr: string;
  /** Lines of standard output, without the rank's prefix. */
  readonly lines: readonly string[];
  /** Processes started by it that still run. */
  readonly orphans: readonly string[];
  /** What it left in shared memory. */
  readonly sharedMemory: readonly string[];
}

/** Where and with what a program runs. */
export interface ProgramSettings {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** The same for an example. */
export interface ExampleSettings extends ProgramSettings {
  /** Options of the example itself. */
  readonly options?: readonly string[];
}

/** Path of an example. */
export function example(name: string): string {
  return fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
}

/** Runs an example as its first lines say. */
export function runExample(name: string, ranks: number, { options = [], ...settings }: ExampleSettings = {}): Promise<ProgramEnd> {
  return runProgram([bin, 'run', '--ranks', String(ranks), example(name), ...options], settings);
}

/** Runs an example without a launcher, with options of its own. */
export function runAlone(name: string, options: readonly string[] = []): Promise<ProgramEnd> {
  return runProgram(['--conditions=@megatron-ts/source', '--import', 'tsx', example(name), ...options]);
}

/** Runs Node with these arguments until all its output has come. */
export async function runProgram(args: readonly string[], { cwd, env = {} }: ProgramSettings = {}): Promise<ProgramEnd> {
  const mark = `EXAMPLE_MARK=${randomUUID()}`;
  const patience = { MEGATRON_SLOW_MS: '600000' }; // warnings of a busy machine are not what is tested
  const own = { ...process.env, ...patience, ...env, [mark.slice(0, 12)]: mark.slice(13) };
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env: own, ...(cwd === undefined ? {} : { cwd }) });
  const printed = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].setEncoding('utf8').on('data', (text: string) => (printed[stream] += text));
  const [code] = (await once(child, 'close')) as [number | null];
  const lines = printed.stdout.trimEnd().split('\n');
  return {
    code,
    stderr: printed.stderr,
    lines: lines.map((line) => line.replace(/^\[rank \d+\] /, '')),
    orphans: processesWith(mark),
    sharedMemory: sharedMemoryOf(child.pid ?? 0),
  };
}

/** Processes whose environment holds `mark`, where the system tells. */
export function processesWith(mark: string): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && environmentOf(pid).split('\0').includes(mark));
}

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8'); // empty for one that has ended and waits to be collected
  } catch {
    return '';
  }
}

/** A launcher's jobs are named for its process. */
function sharedMemoryOf(pid: number): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/dev/shm').filter((name) => name.startsWith(`megatron-run-${pid}-`));
}

/** The numbers that stand after a word, line by line. */
export function numbersAfter(word: string, lines: readonly string[]): number[] {
  const pattern = new RegExp(`(?:^| )${word} (\\S+)`);
  return lines.flatMap((line) => {
    const [, number] = pattern.exec(line) ?? [];
    return number === undefined ? [] : [Number(number)];
  });
}
