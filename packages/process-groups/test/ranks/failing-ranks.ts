import { ConfigError, MegatronError, ProcessGroupError } from '@megatron-ts/errors';
import { allReduce, barrier, initializeModelParallel, type ParallelContext, recv } from '@megatron-ts/process-groups';
import { empty, scope, tensor } from '@megatron-ts/tensor';

/** An error, and how long it took to come. */
export interface Told {
  readonly code: string;
  readonly message: string;
  readonly culprits: unknown;
  readonly waitedMs: number;
}

const self = Number(process.env['RANK']);

async function told(f: () => unknown): Promise<Told> {
  const started = performance.now();
  try {
    await f();
  } catch (error) {
    if (!(error instanceof MegatronError)) throw error;
    const { code, message, fields } = error;
    return { code, message, culprits: fields['culprits'], waitedMs: performance.now() - started };
  }
  throw new ConfigError('CONTRADICTION', 'told: nothing was refused.');
}

function sum(ctx: ParallelContext, values: readonly number[]): readonly number[] {
  return scope(() => [...allReduce(tensor(values), { group: ctx.world }).wait().toArray()]);
}

/** The ranks' numbers summed. */
export async function sumRanks(): Promise<readonly number[]> {
  await using ctx = await initializeModelParallel();
  return sum(ctx, [1, self]);
}

/** Rank 1 calls something else. */
export async function callOtherOperations(): Promise<Told> {
  await using ctx = await initializeModelParallel({ exitOnFailure: false });
  return await told(() => (self === 1 ? barrier({ group: ctx.world }).wait() : sum(ctx, [1])));
}

/** Rank 1 brings more. */
export async function bringOtherSizes(): Promise<Told> {
  await using ctx = await initializeModelParallel({ exitOnFailure: false });
  return await told(() => sum(ctx, self === 1 ? [1, 2] : [1]));
}

/** Rank 1 fails while the others wait for it. */
export async function loseOne(): Promise<Told> {
  await using ctx = await initializeModelParallel({ exitOnFailure: false });
  sum(ctx, [1]);
  if (self === 1) throw new RangeError('the disk is full');
  return await told(() => sum(ctx, [1]));
}

/** Every rank waits for a message that nobody sends. */
export async function waitForEachOther(): Promise<void> {
  await using ctx = await initializeModelParallel();
  const t = empty([1]);
  recv(t, { group: ctx.world, peer: 1 - self }).wait();
}

/** Rank 1 stays away, in a barrier that nobody else enters, from an operation with a deadline of its own. */
export async function stayAway(how: 'wait' | 'settled' | 'group' | 'context'): Promise<Told> {
  await using patient = await initializeModelParallel({ exitOnFailure: false });
  await using hasty = await initializeModelParallel({ timeoutMs: 300 });
  const ctx = how === 'context' ? hasty : patient;
  const group = how === 'group' ? ctx.newGroup([1, 0], { name: 'hasty', timeoutMs: 300 }) : ctx.world;
  const own = how === 'wait' || how === 'settled' ? { timeoutMs: 300 } : {};
  const t = tensor([1]);
  barrier({ group }).wait(); // ranks start far apart
  const aside = patient.newGroup([0, 1], { name: 'aside' });
  if (self === 1) return await told(() => barrier({ group: aside }).wait());
  return await told(() => {
    const work = allReduce(t, { group, ...own });
    return how === 'settled' ? work.settled : work.wait();
  });
}

/** What this rank posted, once its world has failed or not. */
export async function tellRecord() {
  await using ctx = await initializeModelParallel({ exitOnFailure: false });
  scope(() => {
    allReduce(tensor([1, 2, 3]), { group: ctx.world, label: 'first' }).wait();
    const pair = ctx.newGroup([1, 0], { name: 'pair' });
    barrier({ group: pair }).wait();
  });
  return ctx.flightRecord();
}

/** A world whose size a program states. */
export async function stateSize(worldSize: number): Promise<string> {
  try {
    await using ctx = await initializeModelParallel({ worldSize });
    return `joined ${ctx.world.size}`;
  } catch (error) {
    if (error instanceof ConfigError || error instanceof ProcessGroupError) return `${error.code} ${error.message}`;
    throw error;
  }
}
