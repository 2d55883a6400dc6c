import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { comparisonRow, countedPairs, type Pair, pairsWith, turnTime } from './comparison.ts';
import { Contestant } from './contestant.ts';
import { flopsOf, gptSizesOf } from './gpt-sizes.ts';
import { peerPython } from './peer-python.ts';
import { reportOf, type Report, type Row } from './report.ts';
import { playRounds } from './rounds.ts';

/** What products are computed in: parameters and sums are f32 on both sides. */
export type ComputeDType = 'f32' | 'bf16';

/** Settings of a training bench. */
export interface TrainOptions {
  /** Name of the model. */
  readonly model: string;
  /** Whether compiled PyTorch takes part. */
  readonly compile: boolean;
  /** f32 by default; with bf16 the peer runs under autocast. */
  readonly dtype?: ComputeDType;
  /** Threads of each side; all cores by default. */
  readonly threads?: number;
  /** Undisturbed pairs that are wanted; 15 by default. */
  readonly pairs?: number;
}

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Our single-rank GPT step beside PyTorch's, one step of each in turn, until there are enough undisturbed pairs. */
export async function train(options: TrainOptions): Promise<Report> {
  const { model, compile, dtype = 'f32', threads = availableParallelism(), pairs = 15 } = options;
  const sizes = gptSizesOf(model);
  const python = peerPython();
  const env = { MEGATRON_THREADS: String(threads), OMP_NUM_THREADS: String(threads), PYTHONDONTWRITEBYTECODE: '1' };
  const peerArgs = [here('peers/gpt_torch.py'), JSON.stringify({ ...sizes, threads, dtype })];
  const ours = await Contestant.start(process.execPath, [...process.execArgv, here('train-ours.ts'), model, dtype], env);
  const peers = [await Contestant.start(python, peerArgs, env)];
  if (compile) peers.push(await Contestant.start(python, [...peerArgs, '--compile'], env));
  const rounds = await playRounds([ours, ...peers], { wanted: pairs });
  const rows: Row[] = [];
  for (const [at, peer] of peers.entries())
    rows.push(timeRow(`${model} ${dtype} step, ${threads} threads, beside ${peer.who}`, pairsWith(at, rounds), flopsOf(sizes)));
  const ourPeak = await ours.peakBytes();
  for (const peer of peers) rows.push(memoryRow(`${model} ${dtype} peak memory beside ${peer.who}`, ourPeak, await peer.peakBytes()));
  for (const contestant of [ours, ...peers]) contestant.end();
  return reportOf(`train ${model} ${dtype}`, rows);
}

function timeRow(name: string, pairs: readonly Pair[], flops: number): Row {
  const row = comparisonRow(name, pairs, turnTime);
  const losses =
    countedPairs(pairs)
      .at(-1)
      ?.map(({ value }) => value) ?? [];
  return { ...row, ourGflops: flops / row.ours / 1e6, ourLastLoss: losses[0] ?? null, peerLastLoss: losses[1] ?? null };
}

function memoryRow(name: string, ours: number, peer: number): Row {
  const [oursMiB, peerMiB] = [ours / 2 ** 20, peer / 2 ** 20];
  return { name, unit: 'MiB', ours: oursMiB, peer: peerMiB, ratio: peerMiB / oursMiB };
}
