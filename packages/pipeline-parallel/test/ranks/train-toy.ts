import { DistributedDataParallel } from '@megatron-ts/data-parallel';
import { Adam } from '@megatron-ts/optimizer';
import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import {
  gpipe,
  interleavedPlacement,
  oneForwardOneBackward,
  type Schedule,
  scheduleFromCompute,
  stagesOfRank,
  turningPlacement,
} from '@megatron-ts/schedule';
import { memoryStats, type Parameter } from '@megatron-ts/tensor';
import { runSchedule } from '@megatron-ts/pipeline-parallel';
import { lossOf, microbatchOf, ToyStage } from './toy-pipeline.ts';

/** Schedules of four microbatches by name and number of stages. */
const schedules: Record<string, (stages: number, microbatches: number) => Schedule> = {
  '1f1b': (numStages, numMicrobatches) => oneForwardOneBackward({ numStages, numMicrobatches }),
  gpipe: (numStages, numMicrobatches) => gpipe({ numStages, numMicrobatches }),
  // Weight gradients in microbatch order, behind the input gradients.
  split: () => scheduleFromCompute('split', ['F0 F1 I0 F2 W0 I1 F3 W1 I2 W2 I3 W3', 'F0 I0 F1 I1 W0 W1 F2 I2 F3 I3 W2 W3']),
  interleaved: () => {
    const list = 'F0a F1a F0b F1b B0b B1b B0a B1a F2a F3a F2b F3b B2b B3b B2a B3a';
    return scheduleFromCompute('interleaved', [list, list], { placement: interleavedPlacement(2, 2) });
  },
  turning: () =>
    scheduleFromCompute(
      'turning',
      [
        'F0a F1a F0b B0b F1b B1b B0a B1a F2a F3a F2b B2b F3b B3b B2a B3a',
        'F0a F0b F1a F1b B0b B0a B1b B1a F2a F2b F3a F3b B2b B2a B3b B3a',
      ],
      {
        placement: turningPlacement(2),
      },
    ),
};

/** A run over some ranks of the world. */
export interface Layout {
  readonly ranks: readonly number[];
  readonly pp: number;
  readonly schedule: string;
  /** Microbatches of each data-parallel rank. */
  readonly microbatches: number;
  /** Whether the last weight is the first; true by default. */
  readonly tied?: boolean;
  /** On one rank: stands for data-parallel ranks. */
  readonly accumulationGroups?: number;
}

/** What a rank learnt. */
export interface Outcome {
  readonly steps: { readonly loss: number; readonly numTokens: number; readonly gradNorm: number }[];
  readonly validation: number;
  readonly parameters: Map<string, Float32Array>;
  readonly grown: number;
}

const steps = 12;

/** What a rank learnt of all layouts. */
export interface Report {
  /** By layout; undefined where this rank is not in it. */
  readonly outcomes: readonly (Outcome | undefined)[];
  /** Sentences of what four replicas refuse. */
  readonly refusals: readonly string[];
}

/** Trains under each layout this rank belongs to. */
export async function trainUnder(layouts: readonly Layout[]): Promise<Report> {
  await using world = await initializeModelParallel({ timeoutMs: 20_000 }); // keeps this rank in the world between the layouts
  const rank = Number(process.env['RANK'] ?? 0);
  const outcomes: (Outcome | undefined)[] = [];
  for (const layout of layouts) outcomes.push(layout.ranks.includes(rank) ? await train(layout) : undefined);
  return { outcomes, refusals: refusalsOf(world) };
}

function refusalsOf(ctx: ParallelContext): string[] {
  const model = new ToyStage({ stage: 0, numStages: 1 }, ctx).initialize(ctx);
  const schedule = gpipe({ numStages: 1, numMicrobatches: 1 });
  const attempts = [
    () => new Adam(model.parameters(), { lr: 1 }),
    () => new DistributedDataParallel(model, { dpGroup: ctx.tp }),
    () => new DistributedDataParallel(model, { dpGroup: ctx.dp, accumulationGroups: 2 }),
    () => runSchedule({ ctx, schedule, chunks: [model], microbatches: microbatchOf, lossOf }),
  ];
  const sentences = attempts.map((attempt) => {
    try {
      attempt();
    } catch (error) {
      return (error as Error).message;
    }
    return 'nothing was refused';
  });
  model.dispose();
  return sentences;
}

async function train(layout: Layout): Promise<Outcome> {
  await using ctx = await initializeModelParallel({ ranks: layout.ranks, pipelineModelParallelSize: layout.pp, timeoutMs: 20_000 });
  const schedule = (schedules[layout.schedule] as (typeof schedules)['1f1b'] & {})(layout.pp, layout.microbatches);
  const stages = stagesOfRank(schedule.placement, ctx.pp.rank);
  const { accumulationGroups = 1, tied = true } = layout;
  const chunks = stages.map((stage) => {
    const part = new ToyStage({ stage, numStages: schedule.numStages, tied }, ctx).initialize(ctx);
    return new DistributedDataParallel(part, { dpGroup: ctx.dp, accumulationGroups, bucketBytes: 600 });
  });
  const optimizer = new Adam(
    chunks.flatMap((chunk) => chunk.parameters()),
    { lr: 0.01, clipGradNorm: 1 },
  );
  const perStep = layout.microbatches * ctx.dp.size;
  const run = (step: number, forwardOnly: boolean) =>
    runSchedule({
      ctx,
      schedule,
      chunks,
      lossOf,
      forwardOnly,
      microbatches: (i) => microbatchOf(step * perStep + ctx.dp.rank * layout.microbatches + i),
    });
  const taken: Outcome['steps'] = [];
  let bytes = 0;
  for (let step = 0; step < steps; step++) {
    const { loss, numTokens } = ctx.step(step, () => run(step, false));
    taken.push({ loss, numTokens, gradNorm: optimizer.step().gradNorm });
    if (step === 2) bytes = memoryStats().liveBytes;
  }
  const validation = ctx.step(steps, () => run(steps, true).loss);
  const grown = memoryStats().liveBytes - bytes;
  const parameters = valuesOf(
    ctx,
    chunks.flatMap((chunk) => chunk.parameters()),
  );
  for (const owner of [...chunks, optimizer]) owner.dispose();
  return { steps: taken, validation, parameters, grown };
}

/** Values of the parameters that this rank is the one to tell. */
function valuesOf(ctx: ParallelContext, parameters: readonly Parameter[]): Map<string, Float32Array> {
  const own = parameters.filter(({ tiedTo, meta }) => tiedTo === undefined && meta.isPrimary && ctx.dp.rank === 0);
  return new Map(own.map((parameter) => [parameter.name, parameter.toArray() as Float32Array]));
}
