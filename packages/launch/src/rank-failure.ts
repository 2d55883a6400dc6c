import type { RankEnd } from './rank-process.ts';

/** The failure that ended a run. */
export interface RankFailure {
  /** World rank. */
  readonly rank: number;
  /** Exit status, when it exited. */
  readonly code: number | null;
  /** Signal, when one ended it. */
  readonly signal: NodeJS.Signals | null;
  /** What it said: the error it reported, or the last line it wrote as an error. */
  readonly message: string | undefined;
}

/** Codes of errors that only tell of another rank's failure. */
const consequences = new Set(['PEER_LOST', 'ABORTED']);

/** Whether a rank failed by itself: not well, and not because of `stoppedAt`, when the launcher began to stop the ranks. */
function failedItself({ code, signal, time, report }: RankEnd, stoppedAt: number): boolean {
  if (code === 0) return false;
  if (report !== undefined) return true;
  return code !== null || signal !== null ? time <= stoppedAt : true;
}

/** The first failure of a run: errors that tell of a lost peer yield to that peer's own. */
export function firstFailure(ends: readonly RankEnd[], stoppedAt: number): RankFailure | undefined {
  const failed = ends.filter((end) => failedItself(end, stoppedAt));
  const causes = failed.filter(({ report }) => report?.code === undefined || !consequences.has(report.code));
  const [first] = (causes.length > 0 ? causes : failed).sort((a, b) => timeOf(a) - timeOf(b));
  if (first === undefined) return undefined;
  const { rank, code, signal, report, lastLine } = first;
  if (report === undefined) return { rank, code, signal, message: lastLine };
  const message = `${report.name}: ${report.message}`;
  // Its error was raised before we stopped it: our signal only came before its exit, which an uncaught error makes with status 1.
  return signal !== null && first.time > stoppedAt ? { rank, code: 1, signal: null, message } : { rank, code, signal, message };
}

function timeOf({ report, time }: RankEnd): number {
  return report?.time ?? time;
}

/** `rank 2 was ended by SIGKILL`, `rank 2 failed with exit code 1: ConfigError: …`. */
export function describeFailure({ rank, code, signal, message }: RankFailure): string {
  const how = signal === null ? (code === null ? 'could not be started' : `failed with exit code ${code}`) : `was ended by ${signal}`;
  return message === undefined ? `rank ${rank} ${how}` : `rank ${rank} ${how}: ${message}`;
}
