import {
  allGather,
  allReduce,
  barrier,
  initializeModelParallel,
  MegatronError,
  type ParallelContext,
  scope,
  tensor,
} from '@megatron-ts/core';
import { isMainThread } from 'node:worker_threads';
import { type Fault, faults, limitMs, slowMs } from '../fault-table.ts';
import { blockFor } from './block-for.ts';
import { wake } from './wake.ts';

/** One line that a rank prints about one world: a rank that dies returns nothing. */
export interface Line {
  /** Place of the fault in the table. */
  readonly fault: number;
  /** Number in that world. */
  readonly rank: number;
  /** When it came to the place of the fault, in milliseconds since 1970. */
  readonly from: number;
  /** When it was told of the fault, or had gone on as if there were none; a culprit that dies is told nothing. */
  readonly to?: number;
  readonly code?: string;
  readonly culprits?: unknown;
  readonly message?: string;
}

const job = process.env['MEGATRON_JOB'] ?? '';
const patient = 60_000;

function now(): number {
  return performance.timeOrigin + performance.now();
}

function say(line: Line): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** One operation of a step. */
function sum(ctx: ParallelContext, operation: Fault['operation'], values: Float32Array | Int32Array = new Float32Array(4).fill(1)): number {
  const label = { tp: 'layer', dp: 'gradients', world: 'loss' }[operation];
  return scope(() => allReduce(tensor(values), { group: ctx[operation], label }).wait().toArray()[0] as number);
}

/** What the culprit does in the place of an operation, or before it. */
function commit({ name, operation }: Fault, ctx: ParallelContext): void {
  if (name === 'kind') barrier({ group: ctx[operation], label: 'before the checkpoint' }).wait();
  else if (name === 'count') sum(ctx, operation, new Float32Array(5));
  else if (name === 'dtype') sum(ctx, operation, new Int32Array(4));
  else if (name === 'group') sum(ctx, 'dp');
  else if (name === 'branch') scope(() => allReduce(tensor([1]), { group: ctx[operation], label: 'only on one rank' }).wait());
  else if (name === 'killed') die();
  else if (name === 'stopped') stop();
  else if (name === 'left') process.exit(0);
  else blockFor(name === 'late' ? 3 * slowMs : 2 * limitMs);
}

/** Another thread may be the first to stop: this one goes no further until it is stopped as well. */
function stop(): void {
  process.kill(process.pid, 'SIGSTOP');
  blockFor(limitMs);
}

function die(): void {
  if (isMainThread) process.kill(process.pid, 'SIGKILL');
  throw new RangeError('the disk is full');
}

/** One step; at the place of the fault, `atFault` may take the place of the operation. */
function step(ctx: ParallelContext, n: number, { operation }: Fault, atFault: () => boolean): void {
  ctx.step(n, () => {
    for (const next of ['tp', 'dp', 'world'] as const) if (next !== operation || !atFault()) sum(ctx, next);
  });
}

/** Runs one world in which a rank commits the fault; true when this rank goes on to the next world. Throws what ends the last one. */
async function runWorld(index: number, { rank, size }: { rank: number; size: number }): Promise<void> {
  const fault = faults[index] as Fault;
  const isCulprit = rank === fault.culprit;
  const timeoutMs = fault.code === 'TIMEOUT' ? limitMs : patient;
  const [tensorModelParallelSize, env] = [size % 2 === 0 && size > 4 ? 2 : 1, { RANK: rank, LOCAL_RANK: rank }];
  Object.assign(process.env, { MEGATRON_JOB: `${job}-${index}`, WORLD_SIZE: size, LOCAL_WORLD_SIZE: size, ...env });
  // Ranks come to a world when they have done with the one before, one of them perhaps by more than the limit after the others.
  const deadlines = { timeoutMs, slowMs, joinTimeoutMs: patient };
  await using ctx = await initializeModelParallel({ tensorModelParallelSize, ...deadlines, exitOnFailure: false });
  const pids = scope(() => [
    ...allGather(tensor(Int32Array.of(process.pid)), { group: ctx.world })
      .wait()
      .toArray(),
  ]);
  step(ctx, 0, fault, () => false);
  let from = Number.NaN;
  try {
    step(ctx, 1, fault, () => {
      from = now();
      if (!isCulprit) return false;
      say({ fault: index, rank, from });
      commit(fault, ctx);
      return fault.name === 'kind' || fault.name === 'group';
    });
    say({ fault: index, rank, from, to: now() });
  } catch (error) {
    const to = now();
    if (!(error instanceof MegatronError)) throw error;
    say({ fault: index, rank, from, to, code: error.code, culprits: error.fields['culprits'], message: error.message });
    if (fault.name === 'stopped' && !isCulprit) wake(Number(pids[fault.culprit]));
    if (index === faults.length - 1) throw error;
  }
}

/** Goes through the worlds of the table, as long as this rank lives; the last failure ends it as it ends a program that catches nothing. */
export async function walkFaults(): Promise<void> {
  const rank = Number(process.env['RANK']);
  let size = Number(process.env['WORLD_SIZE']);
  for (const [index, { name, needsProcess = false }] of faults.entries()) {
    if (needsProcess && !isMainThread) continue;
    await runWorld(index, { rank, size });
    if (name === 'left' || name === 'killed') size--; // the last rank, so that the others keep their numbers
  }
}
