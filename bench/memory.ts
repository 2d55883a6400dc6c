import { memoryStats, type MemoryStats } from '@megatron-ts/core';
import { engine, memoryCategories } from '@megatron-ts/tensor';
import { gptSizesOf } from './gpt-sizes.ts';
import { type GptTraining, gptTraining } from './gpt-step.ts';
import { engineThreadFaults, peakResidentBytes } from './process-measures.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { median } from './statistics.ts';

const [first, last] = [10, 500];

/** What the steps from `first` to `last` cost in page faults, each. */
interface Faults {
  /** Of the engine's own threads. */
  readonly ofThreads: number[];
  /** Of JavaScript's thread, inside the engine. */
  readonly ofCaller: number[];
}

const row = (name: string, unit: string, ours: number): Row => ({ name, unit, ours, peer: null, ratio: null });
const inMiB = (bytes: number) => bytes / 2 ** 20;

/**
 * Memory of a small training loop: live bytes by use, which after step 10 and after step 500 must be the same, and what the engine asked
 * the system for in between, which must be nothing.
 */
export async function memory(model: string): Promise<Report> {
  const training = await gptTraining(gptSizesOf(model));
  for (let n = 0; n < first; n++) training.step();
  const early = memoryStats();
  const faults = watchSteps(training, last - first);
  const late = memoryStats();
  const resident = peakResidentBytes();
  await training.ctx.destroy();
  if (early.liveBytes !== late.liveBytes || early.systemCalls !== late.systemCalls || median(faults.ofThreads) > 0) process.exitCode = 1;
  return reportOf('memory', [
    ...usageRows(model, early, late),
    row('requests to the system up to step 10', '', early.systemCalls),
    row('requests to the system from step 10 to step 500', '', late.systemCalls - early.systemCalls),
    row("page faults of a step in the engine's threads, median", '', median(faults.ofThreads)),
    row('page faults of a step inside the engine on the calling thread, median', '', median(faults.ofCaller)),
    row('most resident memory of the process', 'MiB', inMiB(resident)),
  ]);
}

function watchSteps(training: GptTraining, steps: number): Faults {
  const faults: Faults = { ofThreads: [], ofCaller: [] };
  engine.countFaults(true);
  let [threads, caller] = [engineThreadFaults() ?? 0, engine.countedFaults()];
  for (let n = 0; n < steps; n++) {
    training.step();
    const [threadsNow, callerNow] = [engineThreadFaults() ?? 0, engine.countedFaults()];
    faults.ofThreads.push(threadsNow - threads);
    faults.ofCaller.push(callerNow - caller);
    [threads, caller] = [threadsNow, callerNow];
  }
  engine.countFaults(false);
  return faults;
}

function usageRows(model: string, early: MemoryStats, late: MemoryStats): Row[] {
  const uses = memoryCategories.filter((category) => late.byCategory[category].peakBytes > 0);
  return [
    row(`${model}: live bytes after step 10`, 'bytes', early.liveBytes),
    row(`${model}: live bytes after step 500`, 'bytes', late.liveBytes),
    ...uses.flatMap((category) => {
      const { liveBytes, peakBytes } = late.byCategory[category];
      return [row(`${category}, live`, 'MiB', inMiB(liveBytes)), row(`${category}, peak`, 'MiB', inMiB(peakBytes))];
    }),
    row('all tensors, peak', 'MiB', inMiB(late.peakBytes)),
    row('reserved', 'MiB', inMiB(late.reservedBytes)),
  ];
}
