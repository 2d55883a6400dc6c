import { ConfigError } from '@megatron-ts/errors';
import { finalizeGrads, type GradientReducer, isGradientReducer, type ParallelContext } from '@megatron-ts/process-groups';
import { computeParts, type Schedule } from '@megatron-ts/schedule';
import { ambient, type AnyTensor, type DType, type Loss, type Module, scope, type Shape } from '@megatron-ts/tensor';
import type { LossTotal } from './loss-total.ts';
import { ScheduleExecutor } from './schedule-executor.ts';
import { activationDTypeOf, activationShapeOf, callStage, inputOfMicrobatch } from './stage-call.ts';

/** One step of a pipeline. `B` is a microbatch, whatever the caller's data looks like. */
export interface RunScheduleOptions<B> {
  /** The mesh. */
  readonly ctx: ParallelContext;
  /** What every rank does. */
  readonly schedule: Schedule;
  /** This rank's model chunks, in the order of the schedule's chunk numbers. */
  readonly chunks: readonly Module[];
  /**
   * This rank's microbatches, or what makes one; it may be called several times for one number. Every stage of a pipeline gets the same.
   */
  readonly microbatches: readonly B[] | ((index: number) => B);
  /** Loss of the last stage's output: a sum and the number of tokens in it. */
  readonly lossOf: (output: AnyTensor, microbatch: B) => Loss;
  /** What the first stage gets; by default the microbatch itself when it is a tensor, else its field `input`. */
  readonly inputOf?: (microbatch: B) => AnyTensor;
  /** One chunk's forward; `chunk.call(input)` by default. */
  readonly forwardStep?: (chunk: Module, input: AnyTensor, microbatch: B) => AnyTensor;
  /**
   * Shape of what a chunk receives from the stage before; by default the chunk's method `activationShape` tells it from the shape of the
   * first stage's input.
   */
  readonly activationShape?: (microbatch: B) => Shape;
  /** Element type of it; by default what the chunk's `activationDType` says, else f32. */
  readonly activationDType?: DType;
  /** Leave out all backwards, as for validation: nothing is recorded and dropout is off. By default what the schedule says. */
  readonly forwardOnly?: boolean;
}

/** What a step gave, the same on every rank. */
export interface ScheduleResult {
  /** Mean loss over the tokens of all microbatches and data-parallel ranks. */
  readonly loss: number;
  /** Number of these tokens. */
  readonly numTokens: number;
}

/**
 * Runs a pipeline's step and finishes its gradients: over data parallelism, tied embeddings and sequence-parallel norms, divided by the
 * number of tokens. Every rank of the mesh calls it with its chunks.
 * @throws ConfigError CONTRADICTION, UNREDUCED_PARAMETER, NOT_BUILT, MISSING_OPTION
 */
export function runSchedule<B>(options: RunScheduleOptions<B>): ScheduleResult {
  const { ctx, schedule, chunks, microbatches, lossOf, inputOf = inputOfMicrobatch, forwardStep = callStage } = options;
  const forwardOnly = options.forwardOnly ?? schedule.forwardOnly;
  check(options, forwardOnly);
  const activationShape = options.activationShape;
  const executor = new ScheduleExecutor<B>({
    ctx,
    schedule,
    chunks,
    microbatchOf: typeof microbatches === 'function' ? microbatches : (index) => microbatches[index] as B,
    inputOf,
    forwardStep,
    lossOf,
    activationShape: (chunk, microbatch) => activationShape?.(microbatch) ?? activationShapeOf(chunk, inputOf(microbatch).shape),
    activationDType: (chunk) => options.activationDType ?? activationDTypeOf(chunk),
    forwardOnly,
  });
  return scope(() => {
    if (!forwardOnly)
      for (const [chunk, reducer] of reducersOf(chunks)) reducer.beginStep(forwardsOf(schedule, { rank: ctx.pp.rank, chunk }));
    let result: ReturnType<LossTotal['reduce']>;
    try {
      executor.run();
      result = executor.total.reduce(ctx);
    } finally {
      executor.dispose();
    }
    if (!forwardOnly) finish(chunks, { ctx, numTokens: result.numTokens });
    warnIfNotFinite(ctx, result);
    return result;
  });
}

function reducersOf(chunks: readonly Module[]): [number, Module & GradientReducer][] {
  return chunks.flatMap((chunk, index) => (isGradientReducer(chunk) ? [[index, chunk] as [number, Module & GradientReducer]] : []));
}

/** Number of microbatches that pass a chunk of a rank. */
function forwardsOf({ ranks }: Schedule, { rank, chunk }: { readonly rank: number; readonly chunk: number }): number {
  return (ranks[rank] ?? []).flatMap(computeParts).filter((part) => part.kind === 'forward' && part.chunk === chunk).length;
}

function finish(chunks: readonly Module[], { ctx, numTokens }: { readonly ctx: ParallelContext; readonly numTokens: number }): void {
  for (const chunk of chunks) {
    if (isGradientReducer(chunk)) chunk.finalizeGrads({ numTokens });
    else finalizeGrads(chunk.parameters(), { ctx, scale: 1 / Math.max(1, numTokens) });
  }
}

function warnIfNotFinite(ctx: ParallelContext, { loss, numTokens }: ScheduleResult): void {
  if (Number.isFinite(loss) || ctx.world.rank !== 0) return;
  const step = ambient.step === undefined ? '' : `step ${ambient.step}: `;
  process.stderr.write(
    `runSchedule: ${step}the loss over ${numTokens} tokens is ${loss}. Look at the learning rate and at the data of this step.\n`,
  );
}

function check<B>({ ctx, schedule, chunks, microbatches }: RunScheduleOptions<B>, forwardOnly: boolean): void {
  const { name, numRanks, numChunks, numMicrobatches, placement } = schedule;
  if (numRanks !== ctx.pp.size)
    throw new ConfigError(
      'CONTRADICTION',
      `runSchedule: schedule "${name}" is for ${numRanks} pipeline ranks, and ctx.pp has ${ctx.pp.size}. Make it with numStages `
        + `${ctx.pp.size}.`,
    );
  if (numChunks !== chunks.length)
    throw new ConfigError(
      'CONTRADICTION',
      `runSchedule: schedule "${name}" runs ${numChunks} model chunks on a rank, and chunks has ${chunks.length}. Build as many as `
        + 'virtualPipelineModelParallelSize says.',
    );
  if (typeof microbatches !== 'function' && microbatches.length !== numMicrobatches)
    throw new ConfigError(
      'CONTRADICTION',
      `runSchedule: schedule "${name}" is for ${numMicrobatches} microbatches, and ${microbatches.length} were given. Give `
        + `${numMicrobatches}, or make another schedule.`,
    );
  if (forwardOnly) return;
  if (placement.routes.length > 1)
    throw new ConfigError(
      'NOT_BUILT',
      `runSchedule: schedule "${name}" holds each stage on ${placement.routes.length} ranks, and nothing adds their gradients yet. Use `
        + 'a schedule with one owner per stage.',
    );
  const plain = chunks.find((chunk) => !isGradientReducer(chunk));
  if (plain !== undefined && ctx.dpCp.size > 1)
    throw new ConfigError(
      'UNREDUCED_PARAMETER',
      `runSchedule: ${plain.path} is replicated over ${ctx.dpCp.size} data-parallel ranks, and nobody sums its gradients. Wrap it in `
        + 'DistributedDataParallel.',
    );
}
