import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import {
  describeFailure,
  type OutputSink,
  planWorld,
  type RunEnd,
  type RunningRanks,
  spawnRanks,
  type WorldPlan,
} from '@megatron-ts/launch';
import { RankOutput } from './rank-output.ts';
import { parseRun, runHelp } from './run-options.ts';

/** `run …`: one process per rank, output prefixed; the first failure ends all, is reported, and gives the exit status. */
export async function run(args: readonly string[]): Promise<number> {
  const options = parseRun(args);
  if (options === 'help') {
    process.stdout.write(runHelp);
    return 0;
  }
  const plan = planWorld(options.request);
  const liveRank = process.stdout.isTTY && plan.firstRank === 0 ? 0 : undefined;
  const output = new RankOutput({ stdout: process.stdout, stderr: process.stderr, liveRank });
  const logs = options.logDir === undefined ? [] : openLogs(options.logDir, plan);
  const sink: OutputSink = (rank, stream, chunk) => {
    output.write(rank, stream, chunk);
    logs[rank - plan.firstRank]?.write(chunk);
  };
  const envOf = (localRank: number) =>
    localRank === liveRank ? { MEGATRON_PROGRESS: 'tty', COLUMNS: String(process.stdout.columns) } : {};
  const world = spawnRanks(plan, { script: options.script, args: options.args, envOf, sink, onFailure: 'SIGTERM' });
  const stopForwarding = forwardSignals(world);
  const end = await world.ended;
  stopForwarding();
  output.end();
  for (const log of logs) log.end();
  if (end.failure !== undefined) process.stderr.write(`megatron-ts run: ${describeFailure(end.failure)}\n`);
  return statusOf(end);
}

function openLogs(folder: string, plan: WorldPlan): WriteStream[] {
  mkdirSync(folder, { recursive: true });
  return Array.from({ length: plan.localWorldSize }, (_, localRank) =>
    createWriteStream(join(folder, `rank-${plan.firstRank + localRank}.log`)),
  );
}

/** Passes signals on: ranks finish their step at the first, the second starts the clock that ends them. Returns what undoes it. */
function forwardSignals(world: RunningRanks): () => void {
  let seen = 0;
  const forward = (signal: NodeJS.Signals): void => {
    seen++;
    world.signal(signal);
    if (seen > 1) world.stop('SIGTERM');
  };
  const closed = (): void => world.stop('SIGTERM'); // as with `| head`
  process.on('SIGINT', forward);
  process.on('SIGTERM', forward);
  process.stdout.once('error', closed);
  return () => {
    process.off('SIGINT', forward);
    process.off('SIGTERM', forward);
    process.stdout.off('error', closed);
  };
}

/** The first failure's exit status, 128 and the number of its signal as in a shell; that of any rank when none failed by itself. */
function statusOf({ failure, ends }: RunEnd): number {
  const { code, signal } = failure ?? ends.find((end) => end.code !== 0) ?? { code: 0, signal: null };
  return signal === null ? (code ?? 1) : 128 + constants.signals[signal];
}
