import { availableParallelism } from 'node:os';
import { comparisonRow, pairsWith } from './comparison.ts';
import type { Turn } from './contestant.ts';
import { gptSizesOf } from './gpt-sizes.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { forgiving, playRounds } from './rounds.ts';
import { startGloo, startOurs } from './worlds.ts';

/** Settings of the bench. */
export interface TrainParallelOptions {
  /** Name of the model. */
  readonly model: string;
  /** Undisturbed rounds that are wanted of each row; 15 by default. */
  readonly pairs?: number;
}

const layouts = { tp: 'tensor parallel', dp: 'data parallel' };

/** A GPT step of two ranks of one thread beside PyTorch's with gloo: layers cut in two, then the batch. */
export async function trainParallel({ model, pairs = 15 }: TrainParallelOptions): Promise<Report> {
  const sizes = gptSizesOf(model);
  const python = peerPython();
  const rows: Row[] = [];
  for (const [layout, words] of Object.entries(layouts)) {
    const ours = await startOurs({ size: 2, script: 'train-parallel-ours.ts', args: [model, layout] });
    const peer = await startGloo(python, { size: 2, script: 'peers/gpt_world_torch.py', args: [JSON.stringify(sizes), layout] });
    const theirs = await peer.player('step');
    // Gloo's threads beside the ranks' own wait for few cores by themselves.
    const players = [await ours.player('step'), availableParallelism() < 4 ? forgiving(theirs) : theirs];
    const rounds = await playRounds(players, { wanted: pairs, patience: 5 });
    rows.push(comparisonRow(`${model} step, 2 ranks ${words}, beside ${peer.who}`, pairsWith(0, rounds), inMilliseconds));
    for (const world of [ours, peer]) await world.end();
  }
  return reportOf(`train-parallel ${model}`, rows);
}

const inMilliseconds = { unit: 'ms', of: ({ value }: Turn) => value / 1000 };
