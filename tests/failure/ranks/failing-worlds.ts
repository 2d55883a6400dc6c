import { readdirSync } from 'node:fs';
import {
  allReduce,
  GPTModel,
  initializeModelParallel,
  MegatronError,
  type ModelParallelOptions,
  type ParallelContext,
  scope,
  tensor,
} from '@megatron-ts/core';

const job = process.env['MEGATRON_JOB'] ?? '';
const rank = Number(process.env['RANK']);

/** An error, and how long it took to come. */
export interface Told {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly waitedMs: number;
}

/** What one rank saw of several worlds that fail, one after another. */
export interface Survivor {
  /** Sizes that do not fit the world or the ranks. */
  readonly sizes: Record<'product' | 'heads' | 'layers', Told>;
  /** Names in shared memory of a world that has met. */
  readonly sharedMemory: readonly string[];
  readonly notJoined: Told | undefined;
  readonly contradiction: Told;
  readonly beyondWorld: Told | undefined;
  /** Steps that ended before the loop left, after one rank was asked to stop in the third. */
  readonly stoppedAfter: number;
}

/** Limit of worlds in which a rank is missing. */
export const limitMs = 1000;

const patient = 60_000;
const model = { vocabSize: 12, maxSequenceLength: 4, hiddenSize: 12, numLayers: 4, numAttentionHeads: 4 };

/** Gives this process a world of its own name, runs `f` in it, and returns the error that ended it. */
async function inWorld(name: string, options: ModelParallelOptions, f: (ctx: ParallelContext) => void): Promise<Told | undefined> {
  process.env['MEGATRON_JOB'] = `${job}-${name}`;
  const started = performance.now();
  let waitingSince = started;
  try {
    await using ctx = await initializeModelParallel({ ...options, exitOnFailure: false }); // there are more worlds to come
    waitingSince = performance.now();
    f(ctx);
    return undefined;
  } catch (error) {
    return told(error, waitingSince);
  }
}

function told(error: unknown, since: number): Told {
  const waitedMs = performance.now() - since;
  if (!(error instanceof MegatronError)) throw error;
  const { name, code, message } = error;
  return { name, code, message, waitedMs };
}

function refusalOf(f: () => unknown): Told {
  const started = performance.now();
  try {
    f();
  } catch (error) {
    return told(error, started);
  }
  throw new RangeError('nothing was refused');
}

function sumOf(ctx: ParallelContext, count: number): void {
  scope(() => {
    allReduce(tensor(new Float32Array(count).fill(1)), { group: ctx.world, label: 'probe' }).wait();
  });
}

function must(error: Told | undefined): Told {
  if (error === undefined) throw new RangeError('the world did not fail');
  return error;
}

async function refusedSizes(): Promise<Survivor['sizes']> {
  const product = must(await inWorld('product', { tensorModelParallelSize: 2 }, () => undefined));
  const found: Told[] = [];
  for (const sizes of [{ tensorModelParallelSize: 3 }, { pipelineModelParallelSize: 3 }])
    await inWorld('sizes', { ...sizes, timeoutMs: patient }, (ctx) => void found.push(refusalOf(() => new GPTModel({ ...model, ctx }))));
  const [heads, layers] = found;
  return { product, heads: must(heads), layers: must(layers) };
}

/** One rank claims a world of another size, and one a number beyond it. */
async function contradictions(): Promise<Pick<Survivor, 'contradiction' | 'beyondWorld'>> {
  const before = { ...process.env };
  if (rank === 2) Object.assign(process.env, { WORLD_SIZE: '4', LOCAL_WORLD_SIZE: '4' });
  const contradiction = must(await inWorld('contradiction', { joinTimeoutMs: limitMs }, () => undefined));
  Object.assign(process.env, { RANK: '3', WORLD_SIZE: '3', LOCAL_WORLD_SIZE: '3' });
  const beyondWorld = await inWorld('beyond', { joinTimeoutMs: limitMs }, () => undefined);
  for (const name of ['RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE']) process.env[name] = before[name];
  return { contradiction, beyondWorld };
}

/** Walks through worlds that fail, on three ranks. */
export async function walkFailingWorlds(): Promise<Survivor> {
  const sizes = await refusedSizes();
  let sharedMemory: readonly string[] = [];
  let stoppedAfter = 0;
  await inWorld('stop', { timeoutMs: patient }, (ctx) => {
    sharedMemory = readdirSync('/dev/shm').filter((name) => name.startsWith(`megatron-${job}`));
    for (; stoppedAfter < 10 && !ctx.stopRequested; stoppedAfter++)
      ctx.step(stoppedAfter, () => {
        if (stoppedAfter === 2 && rank === 1) process.kill(process.pid, 'SIGTERM');
        sumOf(ctx, 4);
      });
  });
  const notJoined = rank === 2 ? undefined : await inWorld('late', { joinTimeoutMs: limitMs }, () => undefined);
  await inWorld('meeting', { timeoutMs: patient }, () => undefined);
  const { contradiction, beyondWorld } = await contradictions();
  return { sizes, sharedMemory, notJoined, contradiction, beyondWorld, stoppedAfter };
}
