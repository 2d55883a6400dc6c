import { middle } from './curves-part.ts';
import { flopsOf, type ModelSizes, timedModels, tinyLlama, tinyModel, tokensOf } from './models.ts';
import type { Part } from './part.ts';
import type { Side } from './side.ts';

/** Dense bf16 operations a second of an H100 or H200, by the vendor. */
const peakFlops = 989e12;

/** The shares of the part's time at which the models have to be done. */
const ends = [0.3, 0.68, 1];

interface Steps {
  readonly losses: readonly number[];
  readonly ms: readonly number[];
  readonly peakBytes: number;
  readonly launches?: number;
  readonly graphLaunches?: number;
  readonly reads?: number;
}

/** One side of the alternation. */
interface Contestant {
  readonly name: string;
  readonly side: Side;
  readonly mode: 'ours' | 'captured' | 'eager' | 'compile';
  readonly ms: number[];
  parameters?: number;
  last?: Steps;
  error?: string;
}

/** Part 6: whole training steps in bf16 beside PyTorch eager, compiled and with Transformer Engine, a few steps of each in turn. */
export async function steps(part: Part): Promise<void> {
  const { isTiny } = part.settings;
  const models = isTiny ? { 'tiny GPT': tinyModel, 'tiny Llama': tinyLlama } : timedModels;
  const started = part.left;
  for (const [at, [name, sizes]] of Object.entries(models).entries()) {
    // What is left is shared by the models to come.
    const share = started * (1 - (ends[at] ?? 1));
    await alternate(part, { name, sizes, until: isTiny ? 0 : share });
  }
}

async function alternate(part: Part, { name, sizes, until }: { name: string; sizes: ModelSizes; until: number }): Promise<void> {
  const { isTiny } = part.settings;
  const [rounds, count, dtype] = [isTiny ? 1 : 4, isTiny ? 1 : 4, 'bf16' as const];
  const device = process.env['MEGATRON_DEVICE'] ?? 'cuda';
  const limit = () => Math.max(1000, part.left - until);
  const ours: Contestant = { name: `${name}, ours`, side: part.ours('train-worker.js'), mode: 'ours', ms: [] };
  const captured: Contestant = { name: `${name}, ours as a graph`, side: ours.side, mode: 'captured', ms: [] };
  const peer = part.peer('gpu_train.py');
  const eager: Contestant = { name: `${name}, PyTorch eager`, side: peer, mode: 'eager', ms: [] };
  const compiled: Contestant = { name: `${name}, PyTorch compiled`, side: peer, mode: 'compile', ms: [] };
  // A process of its own, so that its peak is that of one model.
  const engineSide = part.peer('gpu_train.py');
  const engine: Contestant = { name: `${name}, Transformer Engine`, side: engineSide, mode: 'eager', ms: [] };
  const all = [ours, eager, compiled, engine, captured];
  if (!all.some((contestant) => contestant.name.includes(part.settings.only))) return;
  const tried = async (contestant: Contestant, f: () => Promise<void>) => {
    if (contestant.error !== undefined) return;
    try {
      await f();
    } catch (cause) {
      contestant.error = (cause as Error).message;
      // A peer that was killed has lost its model: both modes of it end.
      if (contestant.side === peer && /process|CUDA/.test(contestant.error)) eager.error = compiled.error = contestant.error;
    }
  };
  const prepare = (contestant: Contestant, options = {}) =>
    tried(contestant, async () => {
      const made = await contestant.side.ask<{ parameters: number }>({ do: 'prepare', sizes, dtype, ...options }, limit());
      contestant.parameters = made.parameters;
    });
  await prepare(ours, { device });
  await prepare(eager);
  for (const [second, first] of [
    [captured, ours],
    [compiled, eager],
  ] as const)
    Object.assign(second, { error: first.error, parameters: first.parameters });
  await prepare(engine, { layers: 'transformer-engine' });
  const take = (contestant: Contestant) =>
    tried(contestant, async () => {
      contestant.last = await contestant.side.ask<Steps>({ do: 'steps', count, mode: contestant.mode }, limit());
      contestant.ms.push(...contestant.last.ms);
    });
  // The first steps compile kernels, choose algorithms and take memory. Compiling a model may take all the time there is: the others have
  // had a round by then.
  const warmUp = (contestant: Contestant) =>
    tried(contestant, async () => {
      // A step is captured after three that run as they are.
      await contestant.side.ask({ do: 'steps', count: contestant === captured ? 4 : isTiny ? 1 : 2, mode: contestant.mode }, limit());
    });
  for (const contestant of [ours, eager, engine]) await warmUp(contestant);
  for (const contestant of [ours, eager, engine]) await take(contestant);
  await warmUp(captured);
  await warmUp(compiled);
  for (let round = 0; round < rounds && (round === 0 || limit() > 10_000); round++) for (const contestant of all) await take(contestant);
  await Promise.all([ours.side.end(), peer.end(), engineSide.end()]);
  for (const contestant of all) await part.row(contestant.name, () => result(contestant, { sizes, ours }));
}

function result({ ms, parameters, last, error }: Contestant, { sizes, ours }: { sizes: ModelSizes; ours: Contestant }) {
  if (ms.length === 0) throw new Error(error ?? 'no step was taken.');
  const [stepMs, flops] = [middle(ms), flopsOf(sizes)];
  const { losses = [], peakBytes = 0, launches, graphLaunches } = last ?? {};
  const { seq: s, batch: b, ...rest } = sizes;
  return {
    stepMs,
    tokensPerSecond: (tokensOf(sizes) * 1000) / stepMs,
    mfu: (flops * 1000) / stepMs / peakFlops,
    peakGiB: peakBytes / 2 ** 30,
    timesOurs: middle(ours.ms) / stepMs,
    s,
    b,
    parameters,
    flops,
    peakFlops,
    steps: ms.length,
    lastLoss: losses.at(-1),
    ...(error === undefined ? {} : { endedBy: error }),
    ...(launches === undefined ? {} : { launchesSinceOpened: launches, graphLaunchesSinceOpened: graphLaunches }),
    sizes: rest,
    ms,
  };
}
