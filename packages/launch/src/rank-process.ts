import { type ChildProcess, spawn } from 'node:child_process';
import { launcherVariable } from './launcher-process.ts';
import { readReport, type RankReport, reportVariable } from './rank-report.ts';

/** How a rank's process is started. */
export interface RankCommand {
  /** World rank. */
  readonly rank: number;
  /** Arguments of Node: flags, script, the script's arguments. */
  readonly args: readonly string[];
  /** All its variables. */
  readonly env: Record<string, string | undefined>;
  /** File it reports an error to. */
  readonly reportFile: string;
  /** Opens a channel for messages, on which values keep their types. */
  readonly channel: boolean;
}

/** How a rank's process ended. */
export interface RankEnd {
  /** World rank. */
  readonly rank: number;
  /** Process number; undefined when it could not be started. */
  readonly pid: number | undefined;
  /** Exit status, when it exited. */
  readonly code: number | null;
  /** Signal, when one ended it. */
  readonly signal: NodeJS.Signals | null;
  /** When it ended, in milliseconds since 1970. */
  readonly time: number;
  /** The error it reported. */
  readonly report: RankReport | undefined;
  /** The last line it wrote as an error. */
  readonly lastLine: string | undefined;
}

/** Where a rank's output goes, as it comes. */
export type OutputSink = (rank: number, stream: 'stdout' | 'stderr', chunk: string) => void;

/**
 * One running rank. Outside Windows it leads a process group of its own, so that what it starts ends with it. It makes that group itself
 * (`nodeFlags`): `detached` would put it into a session of its own, and Linux divides cores among sessions before it divides them among
 * processes, so that ranks on few cores could not offer theirs to each other.
 */
export class RankProcess {
  readonly rank: number;
  /** The process, for its channel. */
  readonly child: ChildProcess;
  /** Resolves once it has ended and its output is read; never rejects. */
  readonly ended: Promise<RankEnd>;
  private running = true;
  private tail = '';

  constructor(command: RankCommand, sink: OutputSink) {
    const { rank, args, env, reportFile, channel } = command;
    this.rank = rank;
    this.child = spawn(process.execPath, args, {
      env: { ...env, [reportVariable]: reportFile, [launcherVariable]: String(process.pid) },
      stdio: ['ignore', 'pipe', 'pipe', ...(channel ? (['ipc'] as const) : [])],
      serialization: 'advanced',
    });
    for (const name of ['stdout', 'stderr'] as const) {
      this.child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
        if (name === 'stderr') this.tail = (this.tail + chunk).slice(-4096);
        sink(rank, name, chunk);
      });
    }
    this.ended = this.watch(reportFile);
  }

  /** Sends a signal to the rank; SIGKILL also to everything it started. */
  kill(signal: NodeJS.Signals): void {
    if (signal === 'SIGKILL') this.killGroup();
    else if (this.running) this.child.kill(signal);
  }

  private killGroup(): void {
    const { pid } = this.child;
    if (pid === undefined) return;
    // A rank that has just started has no group yet, and nothing to take along.
    this.child.kill('SIGKILL');
    if (process.platform === 'win32') return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // Nothing of the group is left.
    }
  }

  private watch(reportFile: string): Promise<RankEnd> {
    return new Promise((resolve) => {
      let end = { code: null as number | null, signal: null as NodeJS.Signals | null, time: Date.now() };
      let startFailure: Error | undefined;
      const finish = () => {
        this.running = false;
        resolve({
          rank: this.rank,
          pid: this.child.pid,
          ...end,
          report: readReport(reportFile),
          lastLine: startFailure?.message ?? lastLineOf(this.tail),
        });
      };
      this.child.once('error', (error) => {
        startFailure = error;
        if (this.child.pid === undefined) finish();
      });
      this.child.once('exit', (code, signal) => {
        this.running = false;
        end = { code, signal, time: Date.now() };
        this.killGroup(); // a grandchild would keep the pipes open
      });
      this.child.once('close', finish);
    });
  }
}

/** The last line that says something; Node ends the report of an uncaught error with its version. */
function lastLineOf(text: string): string | undefined {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.findLast((line) => line !== '' && !/^Node\.js v\d/.test(line));
}
