import {
  allGather,
  allReduce,
  allToAll,
  barrier,
  broadcast,
  exchange,
  finalizeGrads,
  gatherToRoot,
  type GroupCounts,
  initializeModelParallel,
  type ParallelContext,
  recv,
  reduce,
  reduceScatter,
  scatter,
  send,
  type Work,
} from '@megatron-ts/process-groups';
import { ambient, type AnyTensor, filled, memoryStats, noGrad, Parameter, scope, tensor, wholeTensor } from '@megatron-ts/tensor';
import { readdirSync } from 'node:fs';
import { movements, reductions, type Verdict } from './against-reference.ts';
import { type OwnGroups, ownGroups } from './own-groups.ts';
import { rootedOperations } from './rooted-operations.ts';
import { sentenceOf } from './sentence-of.ts';
import { unevenOperations } from './uneven-operations.ts';
import { gatherWholeTensors, type WholeTensors } from './whole-tensors.ts';

/** By how many bytes communication has grown while the result of a gather of eight numbers from each rank lives, and after. */
function bytesReceived({ world }: ParallelContext): number[] {
  const live = () => memoryStats().byCategory.communication.liveBytes;
  const before = live();
  const during = scope(() => {
    allGather(tensor(new Float32Array(8)), { group: world }).wait();
    return live();
  });
  return [during - before, live() - before];
}

/** What comes of 70 messages to each of two ranks in one exchange, the last number of each receive. */
function manyMessages({ world }: ParallelContext): number[][] {
  return scope(() => {
    const others = [1, 2].map((step) => (world.rank + step) % 4);
    const messages = (value: (peer: number, at: number) => number, peers: readonly number[]) =>
      peers.flatMap((peer) => Array.from({ length: 70 }, (_, at) => ({ peer, tensor: tensor([0, value(peer, at)]) })));
    const sends = messages((peer, at) => 1000 * world.rank + 100 * peer + at, others);
    const sources = [1, 2].map((step) => (world.rank + 4 - step) % 4);
    const received = exchange({ group: world, sends, receives: messages(() => 0, sources) }).wait();
    const numbers = received.map((t) => t.toArray()[1] ?? Number.NaN);
    return [numbers.slice(0, 70), numbers.slice(70)];
  });
}

/** What one rank of four saw. */
export interface Seen {
  readonly reductions: Verdict[];
  readonly movements: Verdict[];
  readonly rooted: Verdict[];
  readonly uneven: Verdict[];
  readonly own: OwnGroups;
  readonly barrier: { readonly entered: bigint; readonly left: bigint };
  readonly work: ReturnType<typeof observeWork> & { readonly settled: readonly number[] };
  readonly subGroups: ReturnType<typeof subGroupSums>;
  readonly contexts: Awaited<ReturnType<typeof severalContexts>>;
  readonly crossed: readonly number[];
  readonly manyMessages: readonly (readonly number[])[];
  readonly counts: GroupCounts;
  readonly step: Awaited<ReturnType<typeof failingSteps>>;
  readonly finished: ReturnType<typeof finishedGradients>;
  readonly receivedBytes: readonly number[];
  readonly whole: WholeTensors;
  readonly sharedMemory: readonly string[];
}

const self = Number(process.env['RANK']);

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** The number every rank of a group puts in, summed. */
function sumOf(ctx: ParallelContext, name: string): number {
  return scope(() =>
    allReduce(tensor([10 ** self]), { group: ctx.group(name) })
      .wait()
      .item(),
  );
}

function meet(ctx: ParallelContext): Seen['barrier'] {
  pause(40 * self);
  const entered = process.hrtime.bigint();
  barrier({ group: ctx.world }).wait();
  return { entered, left: process.hrtime.bigint() };
}

function observeWork(ctx: ParallelContext) {
  return scope(() => {
    const t = tensor([self, 1]);
    if (self === 0) barrier({ group: ctx.tp }).wait(); // the others cannot end before
    const work = allReduce(t, { group: ctx.world, label: 'probe' });
    const early = self === 1 ? work.isDone : false;
    if (self === 1) barrier({ group: ctx.tp }).wait();
    const [first, second] = [work.wait(), work.wait()];
    return { label: work.label, early, late: work.isDone, isInput: first === t && second === t, values: [...t.toArray()] };
  });
}

async function settledWork(ctx: ParallelContext): Promise<readonly number[]> {
  const t = tensor([self + 1]);
  const result = await allReduce(t, { group: ctx.world }).settled;
  const values = [...result.toArray()];
  t.dispose();
  return values;
}

function subGroupSums(ctx: ParallelContext) {
  return {
    tp: sumOf(ctx, 'tp'),
    dp: sumOf(ctx, 'dp'),
    pp: sumOf(ctx, 'pp'),
    embedding: sumOf(ctx, 'embedding'),
    modelParallel: sumOf(ctx, 'modelParallel'),
    world: sumOf(ctx, 'world'),
  };
}

/** Contexts side by side over other and over the same ranks, used in turns, and then one after another. */
async function severalContexts(whole: ParallelContext) {
  const ranks = self < 2 ? [0, 1] : [2, 3]; // the whole context's tensor-parallel groups have the same ranks
  const half = await initializeModelParallel({ tensorModelParallelSize: 2, ranks });
  const twin = await initializeModelParallel({ tensorModelParallelSize: 2, ranks });
  const odd = await initializeModelParallel({ ranks: self % 2 === 0 ? [0, 2] : [1, 3] });
  const sideBySide = scope(() => {
    const groups = self % 2 === 0 ? [whole.tp, half.tp, twin.tp, odd.world] : [odd.world, twin.tp, half.tp, whole.tp];
    const works = groups.map((group) => ({ group, work: allReduce(tensor([10 ** self]), { group }) }));
    return [whole.tp, half.tp, twin.tp, odd.world].map(
      (group) =>
        works
          .find((own) => own.group === group)
          ?.work.wait()
          .item() ?? NaN,
    );
  });
  const places = [half.world.rank, odd.world.rank, odd.dp.size];
  await twin.destroy();
  const afterOne = [sumOf(half, 'tp'), sumOf(whole, 'tp')];
  await half.destroy();
  await odd.destroy();
  const afterDestroy = sentenceOf(() => sumOf(half, 'tp'));
  const stepAfterDestroy = sentenceOf(() => half.step(0, () => undefined));
  const oneAfterAnother: number[] = [];
  for (const sizes of [{}, { tensorModelParallelSize: 4 }, { pipelineModelParallelSize: 2 }, {}]) {
    await using next = await initializeModelParallel(sizes);
    oneAfterAnother.push(sumOf(next, 'tp'), sumOf(next, 'pp'), sumOf(next, 'dp'));
  }
  await using turned = await initializeModelParallel({ tensorModelParallelSize: 2, ranks: [3, 2, 1, 0] });
  const backwards = { rank: turned.tp.rank, ranks: turned.tp.ranks, sum: sumOf(turned, 'tp') };
  return { sideBySide, places, afterOne, afterDestroy, stepAfterDestroy, oneAfterAnother, backwards };
}

/** Three groups, started and waited for in an order of each rank's own. */
function crossedGroups(ctx: ParallelContext): number[] {
  const groups = [ctx.tp, ctx.pp, ctx.world];
  const turned = [0, 1, 2].map((i) => (i + self) % 3);
  return scope(() => {
    const works = new Map<number, Work<AnyTensor>>();
    for (const i of turned) works.set(i, allReduce(filled([5000], { value: 10 ** self }), { group: groups[i] ?? ctx.world }));
    for (const i of [...turned].reverse()) works.get(i)?.wait();
    return [0, 1, 2].map((i) => works.get(i)?.wait().max().item() ?? NaN);
  });
}

/** Each operation another number of times. */
function counted({ world }: ParallelContext): GroupCounts {
  world.resetCounts();
  scope(() => {
    const t = filled([8], {});
    for (let i = 0; i < 3; i++) allReduce(t, { group: world }).wait();
    for (let i = 0; i < 2; i++) allGather(t, { group: world }).wait();
    reduceScatter(t, { group: world }).wait();
    broadcast(t, { group: world }).wait();
    allToAll(t, { group: world }).wait();
    const [next, before] = [(world.rank + 1) % 4, (world.rank + 3) % 4];
    reduce(t, { group: world, root: 2 }).wait();
    gatherToRoot(t, { group: world }).wait();
    scatter(t, { group: world, root: 1 }).wait();
    exchange({ group: world, sends: [{ peer: next, tensor: t }], receives: [{ peer: before, tensor: filled([8], {}) }] }).wait();
    const sent = send(t, { group: world, peer: next });
    recv(filled([8], {}), { group: world, peer: before }).wait();
    sent.wait();
    barrier({ group: world }).wait();
  });
  return world.counts();
}

/** Steps that fail, and what is left of them. */
async function failingSteps(ctx: ParallelContext) {
  const ambientState = () => [ambient.step, ambient.scope, ambient.tape, ambient.recording, ambient.evaluating];
  const before = ambientState();
  const live = memoryStats().liveHandles;
  const unwaited = sentenceOf(() =>
    ctx.step(3, () => {
      allReduce(tensor([1]), { group: ctx.tp });
      barrier({ group: ctx.tp });
    }),
  );
  barrier({ group: ctx.tp }).wait(); // what was not waited for has ended
  const isAsync = sentenceOf(() => ctx.step(4, (async () => undefined) as unknown as () => undefined));
  const located = sentenceOf(() => ctx.step(5, () => tensor([1, 2], [3])));
  let plain = '';
  try {
    noGrad(() =>
      ctx.step(6, () => {
        tensor([1]);
        throw new RangeError('of the user');
      }),
    );
  } catch (error) {
    plain = String(error);
  }
  const inside = ctx.step(7, () => ({ step: ambient.step, sum: sumOf(ctx, 'world') }));
  const isRestored = ambientState().every((value, i) => value === before[i]);
  return { unwaited, isAsync, located, plain, inside, isRestored, newHandles: memoryStats().liveHandles - live };
}

/** Gradients of four kinds, finished on a mesh of tensor 2 x pipeline 2. */
function finishedGradients(ctx: ParallelContext) {
  const describe = (given: Partial<ReturnType<typeof wholeTensor>>) =>
    new Parameter({ shape: [2], meta: { ...wholeTensor([2]), ...given } });
  const partial = describe({ gradPartialOver: ['tp'] });
  const absent = describe({ gradPartialOver: ['tp'] });
  const shared = describe({ sharedOver: 'embedding' });
  const plain = describe({});
  const finished = describe({ gradPartialOver: ['tp'] });
  const all = { partial, absent, shared, plain, finished };
  scope(() => {
    for (const [name, parameter] of Object.entries(all)) {
      parameter.initialize(name, ctx);
      if (name !== 'absent' || ctx.tp.rank === 1) parameter.accumulateGrad(tensor([10 ** self, 1]));
    }
  });
  finished.isGradFinished = true;
  ctx.world.resetCounts();
  ctx.tp.resetCounts();
  ctx.embedding.resetCounts();
  finalizeGrads([partial, absent, shared, plain, finished], { ctx, scale: 0.5 });
  const packed = ctx.tp.counts().allReduce;
  finalizeGrads([partial, absent, shared, plain, finished], { ctx, scale: 0.5 }); // changes nothing
  const gradients = Object.fromEntries(Object.entries(all).map(([name, { grad }]) => [name, [...(grad?.toArray() ?? [])]]));
  const operations = [ctx.tp.counts().allReduce, ctx.embedding.counts().allReduce];
  for (const parameter of Object.values(all)) parameter.dispose();
  return { gradients, packed, operations };
}

/** Everything that needs ranks, in one world of four: tensor 2 x pipeline 2. */
export async function seeFourRanks(): Promise<Seen> {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2, pipelineModelParallelSize: 2 });
  return {
    reductions: reductions(ctx),
    movements: movements(ctx),
    rooted: rootedOperations(ctx),
    uneven: unevenOperations(ctx),
    own: await ownGroups(),
    barrier: meet(ctx),
    work: { ...observeWork(ctx), settled: await settledWork(ctx) },
    subGroups: subGroupSums(ctx),
    contexts: await severalContexts(ctx),
    crossed: crossedGroups(ctx),
    manyMessages: manyMessages(ctx),
    counts: counted(ctx),
    step: await failingSteps(ctx),
    finished: finishedGradients(ctx),
    receivedBytes: bytesReceived(ctx),
    whole: await gatherWholeTensors(),
    sharedMemory: readdirSync('/dev/shm').filter((name) => name.includes(process.env['MEGATRON_JOB'] ?? 'megatron')),
  };
}
