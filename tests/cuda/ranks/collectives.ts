import {
  allGather,
  allReduce,
  allToAll,
  barrier,
  broadcast,
  deviceStats,
  exchange,
  gatherToRoot,
  initializeModelParallel,
  type ParallelContext,
  recv,
  reduce,
  reduceScatter,
  scatter,
  send,
  tensor,
} from '@megatron-ts/core';
import { onHost } from '@megatron-ts/process-groups';

/** What a rank saw of every operation. */
export interface Collected {
  readonly device: string;
  /** The host that this rank passes for in NCCL, where it was given one. */
  readonly hostId: string | undefined;
  readonly values: Readonly<Record<string, readonly number[]>>;
  /** Waits of the host for the device, and reads, over many collectives that are waited for and a step around them. */
  readonly waits: readonly number[];
  /** Bytes of the device that live before and after. */
  readonly liveBytes: readonly number[];
  readonly operations: number;
}

const live = () => deviceStats()?.liveBytes ?? 0;

/** Every operation on tensors of the device of each of two ranks. */
export async function collect(): Promise<Collected> {
  await using ctx = await initializeModelParallel();
  const before = live();
  const values = ctx.step(0, () => operations(ctx));
  const waits = waitsOf(ctx);
  const { device } = ctx;
  return {
    device,
    hostId: process.env['NCCL_HOSTID'],
    values,
    waits,
    liveBytes: [before, live()],
    operations: ctx.world.counts().allReduce,
  };
}

function operations(ctx: ParallelContext): Record<string, number[]> {
  const { world: group } = ctx;
  const [own, other] = [group.rank, 1 - group.rank];
  const mine = () => tensor([own + 1, 10 * (own + 1)], [2]);
  const read = (t: { toArray(): ArrayLike<number | bigint> } | undefined) => Array.from(t?.toArray() ?? [], Number);
  const early = allReduce(mine(), { group });
  const late = allReduce(mine(), { group, op: 'max' });
  const sent = send(mine(), { group, peer: other });
  const received = recv(tensor([0, 0]), { group, peer: other });
  barrier({ group }).wait();
  return {
    allReduce: read(early.wait()),
    max: read(late.wait()),
    average: read(allReduce(mine(), { group, op: 'avg' }).wait()),
    whole: read(allReduce(tensor(BigInt64Array.of(2n ** 40n + BigInt(own))), { group }).wait()),
    reduce: read(reduce(mine(), { group, root: 1 }).wait()),
    allGather: read(allGather(mine(), { group }).wait()),
    uneven: read(allGather(tensor(own === 0 ? [1] : [2, 3]), { group, rows: [1, 2] }).wait()),
    reduceScatter: read(reduceScatter(mine(), { group }).wait()),
    broadcast: read(broadcast(mine(), { group, root: 1 }).wait()),
    gather: read(gatherToRoot(mine(), { group }).wait()),
    scatter: read(scatter(own === 1 ? tensor([5, 6], [2]) : undefined, { group, root: 1, shape: [2] }).wait()),
    allToAll: read(allToAll(mine(), { group }).wait()),
    recv: (sent.wait(), read(received.wait())),
    exchange: read(
      exchange({ group, sends: [{ peer: other, tensor: mine() }], receives: [{ peer: other, tensor: tensor([0, 0]) }] }).wait()[0],
    ),
    bytes: read(allReduce(tensor(Uint8Array.of(3 + own, 200)), { group, op: 'max' }).wait()),
    nothing: read(allReduce(tensor([]), { group }).wait()),
  };
}

function waitsOf(ctx: ParallelContext): number[] {
  const counted = () => [deviceStats()?.synchronizations ?? -1, deviceStats()?.reads ?? -1];
  const before = counted();
  ctx.step(1, () => {
    const t = tensor(new Float32Array(1000));
    for (let i = 0; i < 50; i++) allReduce(t, { group: ctx.world }).wait();
  });
  return counted().map((count, at) => count - (before[at] ?? 0));
}

/** The sentences of what goes wrong, one mistake after another; the last ends the world. */
export async function mistakes(): Promise<string[]> {
  const ctx = await initializeModelParallel();
  const { world: group } = ctx;
  const peer = 1 - group.rank;
  const there = tensor([1, 2]);
  const here = onHost(() => tensor([1, 2]));
  const told = (f: () => unknown) => {
    try {
      f();
      return 'nothing was thrown';
    } catch (cause) {
      return (cause as Error).message;
    }
  };
  const unwaited = told(() => ctx.step(0, () => void allReduce(there, { group })));
  barrier({ group }).wait(); // what was not waited for has ended
  return [
    unwaited,
    told(() => allReduce(tensor(Uint8Array.of(1)), { group, op: 'avg' })),
    told(() => exchange({ group, sends: [{ peer, tensor: here }], receives: [{ peer, tensor: there }] })),
    told(() => allReduce(group.rank === 0 ? here : there, { group }).wait()),
  ];
}
