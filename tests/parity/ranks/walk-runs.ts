import { initializeModelParallel } from '@megatron-ts/core';
import { plantedMistakes } from '../planted-mistakes.ts';
import { writeRecording } from '../recording.ts';
import type { RunPlan } from '../run-plan.ts';
import { train } from './train.ts';

/** Takes part in those of `plans` that name this rank, one after another, and leaves a recording of each in `folder`. */
export async function walkRuns(folder: string, plans: readonly RunPlan[]): Promise<void> {
  const own = Number(process.env['RANK']);
  for (const plan of plans) {
    if (!plan.ranks.includes(own)) continue;
    const { layout, ranks, seed, name, mistake } = plan;
    const { tensor: tensorModelParallelSize, pipeline: pipelineModelParallelSize } = layout;
    await using ctx = await initializeModelParallel({ tensorModelParallelSize, pipelineModelParallelSize, ranks, seed });
    const plant = plantedMistakes.find((planted) => planted.name === mistake)?.plant;
    writeRecording(folder, { name, rank: ctx.world.rank }, train(ctx, plan, plant));
  }
}
