import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Contestant, type Turn } from './contestant.ts';
import { flopsOf, gptSizes } from './gpt-sizes.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { isUndisturbed, playRounds, quietRounds } from './rounds.ts';
import { median, medianInterval } from './statistics.ts';

/** Settings of a training bench. */
export interface TrainOptions {
  /** Name of the model. */
  readonly model: string;
  /** Whether compiled PyTorch takes part. */
  readonly compile: boolean;
  /** Threads of each side; all cores by default. */
  readonly threads?: number;
  /** Undisturbed pairs that are wanted; 15 by default. */
  readonly pairs?: number;
}

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Our single-rank GPT step beside PyTorch's, one step of each in turn, until there are enough undisturbed pairs. */
export async function train({ model, compile, threads = availableParallelism(), pairs = 15 }: TrainOptions): Promise<Report> {
  const sizes = gptSizes[model];
  if (sizes === undefined) throw new Error(`bench: there is no model "${model}". Use ${Object.keys(gptSizes).join(' or ')}.`);
  const python = peerPython();
  const env = { MEGATRON_THREADS: String(threads), OMP_NUM_THREADS: String(threads), PYTHONDONTWRITEBYTECODE: '1' };
  const peerArgs = [here('peers/gpt_torch.py'), JSON.stringify({ ...sizes, threads })];
  const ours = await Contestant.start(process.execPath, [...process.execArgv, here('train-ours.ts'), model], env);
  const peers = [await Contestant.start(python, peerArgs, env)];
  if (compile) peers.push(await Contestant.start(python, [...peerArgs, '--compile'], env));
  const rounds = await playRounds([ours, ...peers], { wanted: pairs });
  const rows: Row[] = [];
  for (const [at, peer] of peers.entries()) {
    const both = rounds.map((round) => [round[0], round[at + 1]] as [Turn, Turn]);
    rows.push(timeRow(`${model} step, ${threads} threads, beside ${peer.who}`, both, flopsOf(sizes)));
  }
  const ourPeak = await ours.peakBytes();
  for (const peer of peers) rows.push(memoryRow(`${model} peak memory beside ${peer.who}`, ourPeak, await peer.peakBytes()));
  for (const contestant of [ours, ...peers]) contestant.end();
  return reportOf('train', rows);
}

function timeRow(name: string, both: readonly (readonly [Turn, Turn])[], flops: number): Row {
  const quiet = both.filter((pair) => pair.every(isUndisturbed));
  const pairs = quietRounds(both);
  const ratios = pairs.map(([ours, peer]) => peer.ms / ours.ms);
  const ours = median(pairs.map(([{ ms }]) => ms));
  const { low, high } = medianInterval(ratios);
  const losses = pairs.at(-1)?.map(({ value }) => value) ?? [];
  return {
    name,
    unit: 'ms',
    ours,
    peer: median(pairs.map(([, { ms }]) => ms)),
    ratio: median(ratios),
    ratioLow: low,
    ratioHigh: high,
    pairs: quiet.length,
    leftOut: both.length - quiet.length,
    ourGflops: flops / ours / 1e6,
    ourLastLoss: losses[0] ?? null,
    peerLastLoss: losses[1] ?? null,
  };
}

function memoryRow(name: string, ours: number, peer: number): Row {
  const [oursMiB, peerMiB] = [ours / 2 ** 20, peer / 2 ** 20];
  return { name, unit: 'MiB', ours: oursMiB, peer: peerMiB, ratio: peerMiB / oursMiB };
}
