import { Worker } from 'node:worker_threads';
import { finished } from 'node:stream/promises';
import { firstFailure, type RankEnd, rankEnvironment, type RankReport, reportOf, threadFlags } from '@megatron-ts/launch';
import { engine } from '@megatron-ts/tensor';
import { besideTesting } from './beside-testing.ts';
import { type Observation, type PlannedWorld, RankLog } from './observed-world.ts';
import type { RankCall, RankReturn } from './rank-call.ts';

/** Runs a world of worker threads until all have ended, by themselves or at the deadline. */
export async function observeThreads<T>({ plan, call, onFailure, env, timeoutMs }: PlannedWorld): Promise<Observation<T>> {
  const log = new RankLog<T>(plan.worldSize);
  const common = { ...env, MEGATRON_BACKEND: env['MEGATRON_BACKEND'] ?? 'sim' };
  const ranks = Array.from({ length: plan.worldSize }, (_, rank) => new RankThread(rank, rankEnvironment(plan, rank, common), call));
  let stoppedAt = Number.POSITIVE_INFINITY;
  const stop = (): void => {
    stoppedAt = Math.min(stoppedAt, Date.now());
    for (const rank of ranks) rank.end();
    engine.abortSim(plan.job); // a rank that waits in the engine ends when its wait does
  };
  let timedOut: number | undefined;
  const deadline = setTimeout(() => {
    timedOut = timeoutMs;
    stop();
  }, timeoutMs);
  const watch = async (thread: RankThread): Promise<RankEnd> => {
    const end = await thread.run(log);
    if (end.code !== 0 && onFailure !== 'nothing') stop();
    return end;
  };
  const ends = await Promise.all(ranks.map(watch));
  clearTimeout(deadline);
  return { outcomes: log.outcomes(ends), failure: firstFailure(ends, stoppedAt), timedOut };
}

/** One rank that is a thread. */
class RankThread {
  private readonly rank: number;
  private readonly worker: Worker;
  private wasEnded = false;

  constructor(rank: number, variables: Readonly<Record<string, string | undefined>>, call: RankCall) {
    this.rank = rank;
    const script = besideTesting('rank-thread');
    const env = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== undefined)); // or it would read "undefined"
    this.worker = new Worker(script, { workerData: call, env, execArgv: threadFlags(call.moduleUrl), stdout: true, stderr: true });
  }

  /** Ends the thread as soon as it runs JavaScript. */
  end(): void {
    this.wasEnded = true;
    void this.worker.terminate();
  }

  /** Resolves once it has ended and its output is read; never rejects. */
  async run(log: RankLog<unknown>): Promise<RankEnd> {
    const { rank, worker } = this;
    let report: RankReport | undefined;
    worker.once('message', ({ value }: RankReturn) => log.returned(rank, value));
    worker.once('error', (error: unknown) => {
      report = reportOf(error);
      log.wrote(rank, 'stderr', `${error instanceof Error ? error.stack : String(error)}\n`);
    });
    const streams = (['stdout', 'stderr'] as const).map((name) => {
      worker[name].setEncoding('utf8').on('data', (chunk: string) => log.wrote(rank, name, chunk));
      return finished(worker[name]).catch(() => undefined);
    });
    const exit = await new Promise<number>((resolve) => worker.once('exit', resolve));
    const time = Date.now();
    await Promise.all(streams);
    const isEnded = this.wasEnded && report === undefined && exit !== 0;
    const how = isEnded ? { code: null, signal: 'SIGKILL' as const } : { code: exit, signal: null };
    return { rank, pid: process.pid, ...how, time, report, lastLine: undefined };
  }
}
