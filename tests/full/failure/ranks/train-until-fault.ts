import {
  allGather,
  allReduce,
  barrier,
  initializeModelParallel,
  type ParallelContext,
  type ProcessGroup,
  scope,
  tensor,
} from '@megatron-ts/core';
import { isMainThread } from 'node:worker_threads';
import { blockFor } from '../../../failure/ranks/block-for.ts';
import { wake } from '../../../failure/ranks/wake.ts';
import { buildTrainer, trainStep } from '../../../parity/ranks/train.ts';
import type { FaultPlan } from '../fault-plans.ts';

/** How long an operation may take where a rank stays away. */
const limitMs = 2500;
const patient = 60_000;

/** Groups of more than one rank. */
function groupsOf(ctx: ParallelContext): ProcessGroup[] {
  const { tp, pp, dp, dpCp, modelParallel, embedding, world } = ctx;
  return [tp, pp, dp, dpCp, modelParallel, embedding, world].filter(({ size }) => size > 1);
}

/** Another thread may be the first to stop: this one goes no further until it is stopped as well. */
function stop(): void {
  process.kill(process.pid, 'SIGSTOP');
  blockFor(limitMs);
}

/** Does what the plan says, where the program is about to start an operation on `group`. */
function commit({ kind }: FaultPlan, ctx: ParallelContext, group: ProcessGroup): void {
  const label = 'the fault';
  const sum = (values: Float32Array | Int32Array, on = group) => void scope(() => allReduce(tensor(values), { group: on, label }).wait());
  if (kind === 'killed') process.kill(process.pid, 'SIGKILL');
  else if (kind === 'stopped') stop();
  else if (kind === 'left') process.exit(0);
  else if (kind === 'threw') throw new RangeError('the disk is full');
  else if (kind === 'absent') blockFor(2 * limitMs);
  else if (kind === 'kind') barrier({ group, label }).wait();
  else if (kind === 'count') sum(new Float32Array(977));
  else if (kind === 'dtype') sum(new Int32Array(5));
  else
    sum(
      new Float32Array(1),
      groupsOf(ctx).find((other) => other !== group),
    );
}

/** Calls `before` ahead of every operation on the context's groups: each asks its group for the engine's number of it. */
function watchOperations(ctx: ParallelContext, before: (group: ProcessGroup) => void): void {
  for (const group of groupsOf(ctx)) {
    const { id } = group;
    const get = (): number => {
      before(group);
      return id;
    };
    Object.defineProperty(group, 'id', { get });
  }
}

/** Trains a few steps; one rank commits the fault, and the others end by what they are told. */
export async function trainUntilFault(plan: FaultPlan): Promise<void> {
  const { run, kind, culprit, step, operation } = plan;
  const { tensor: tensorModelParallelSize, pipeline: pipelineModelParallelSize } = run.layout;
  const timeoutMs = kind === 'absent' || kind === 'stopped' ? limitMs : patient;
  const deadlines = { timeoutMs, slowMs: 500, joinTimeoutMs: patient };
  await using ctx = await initializeModelParallel({ tensorModelParallelSize, pipelineModelParallelSize, ...deadlines });
  for (const group of groupsOf(ctx)) barrier({ group }).wait(); // ranks start far apart
  const pids = scope(() => [
    ...allGather(tensor(Int32Array.of(process.pid)), { group: ctx.world })
      .wait()
      .toArray(),
  ]);
  const trainer = buildTrainer(ctx, run);
  let [now, started, isDue] = [0, 0, ctx.world.rank === culprit];
  watchOperations(ctx, (group) => {
    if (!isDue || now !== step || (started++ < operation && group !== ctx.world)) return;
    isDue = false;
    commit(plan, ctx, group);
  });
  try {
    for (; now < run.steps; now++) trainStep(trainer, now, () => undefined);
  } finally {
    if (kind === 'stopped' && isMainThread && ctx.world.rank !== culprit) wake(Number(pids[culprit]));
  }
}
