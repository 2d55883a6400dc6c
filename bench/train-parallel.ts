import { availableParallelism } from 'node:os';
import { comparisonRow, pairsWith } from './comparison.ts';
import type { Turn } from './contestant.ts';
import { gptSizesOf } from './gpt-sizes.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { type Player, playRounds } from './rounds.ts';
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
    const players = [await ours.player('step'), forgiving(await peer.player('step'))];
    const rounds = await playRounds(players, { wanted: pairs, patience: 5 });
    rows.push(comparisonRow(`${model} step, 2 ranks ${words}, beside ${peer.who}`, pairsWith(0, rounds), inMilliseconds));
    for (const world of [ours, peer]) await world.end();
  }
  return reportOf(`train-parallel ${model}`, rows);
}

/** Gloo's threads beside the ranks' own wait for few cores by themselves: then only our turns tell of the machine's other users. */
function forgiving(peer: Player): Player {
  if (availableParallelism() >= 4) return peer;
  return { turn: async () => ({ ...(await peer.turn()), wait: 0 }) };
}

const inMilliseconds = { unit: 'ms', of: ({ value }: Turn) => value / 1000 };
