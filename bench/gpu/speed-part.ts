import { attentionSides, settingsOf, suffixOf } from './attention-sides.ts';
import { middle } from './curves-part.ts';
import type { Part } from './part.ts';
import type { Side } from './side.ts';
import { copyRow, type TimedOp, timedOps } from './speed-list.ts';

/** Times of both sides in turn: microseconds of a pass. */
interface Times {
  readonly ours: readonly number[];
  readonly peer: readonly number[];
  /** Why there are no times of the peer. */
  readonly peerError?: string;
  /** Why the last attention that was left to our kernels was, where cuDNN was to compute it; it may be one of a row before. */
  readonly whyKernels?: string;
}

/** Part 5: how fast operations are beside PyTorch, and which share of a copy's bandwidth they have. */
export async function speed(part: Part): Promise<void> {
  const { isTiny } = part.settings;
  const [scale, rounds] = isTiny ? [256, 1] : [1, 5];
  const [workers, peer] = [attentionSides(part), part.peer('gpu_ops.py')];
  let copy = Number.NaN;
  const copied = copyRow(scale);
  await part.row(copied.name, async () => {
    const times = await timed(part, { op: copied, worker: workers.kernel, peer, rounds });
    const row = rowOf(copied, times);
    copy = row.gigabytesPerSecond ?? Number.NaN;
    return row;
  });
  for (const op of timedOps(scale))
    for (const attention of settingsOf(op))
      await part.row(`${op.name}${suffixOf(attention)}`, async () => {
        const contest = { op, worker: workers[attention], peer, rounds, tellsWhy: attention !== 'kernel' };
        const row = rowOf(op, await timed(part, contest));
        return row.gigabytesPerSecond === undefined ? row : { ...row, shareOfCopy: row.gigabytesPerSecond / copy };
      });
}

interface Contest {
  readonly op: TimedOp;
  readonly worker: Side;
  readonly peer: Side;
  readonly rounds: number;
  /** Whether cuDNN is to compute it, so that a row says why it does not. */
  readonly tellsWhy?: boolean;
}

async function timed(part: Part, { op, worker, peer, rounds, tellsWhy = false }: Contest): Promise<Times> {
  const { op: name, sizes, dtype, withBackward, hasPeer } = op;
  const setting = { op: name, sizes, dtype, withBackward };
  const limit = () => Math.max(1000, Math.min(60_000, part.left));
  const times = { ours: [] as number[], peer: [] as number[] };
  await worker.ask({ do: 'prepare', setting }, limit());
  let peerError = hasPeer ? undefined : 'PyTorch has no such operation.';
  let whyKernels: string | undefined;
  const turn = async (side: Side, into: number[]) => {
    const told = await side.ask<{ us: number; whyKernels?: string }>({ do: 'turn' }, limit());
    into.push(told.us);
    return told.whyKernels;
  };
  try {
    if (hasPeer) await peer.ask({ do: 'prepare', setting }, limit());
  } catch (cause) {
    peerError = (cause as Error).message;
  }
  for (let round = 0; round < rounds; round++) {
    whyKernels = await turn(worker, times.ours);
    if (peerError === undefined)
      await turn(peer, times.peer).catch((cause: unknown) => {
        peerError = (cause as Error).message;
      });
  }
  return {
    ...times,
    ...(peerError === undefined ? {} : { peerError }),
    ...(!tellsWhy || whyKernels === undefined ? {} : { whyKernels }),
  };
}

function rowOf({ op, sizes, dtype, flops, bytes }: TimedOp, { ours, peer, peerError, whyKernels }: Times) {
  const us = middle(ours);
  const peerUs = peer.length === 0 ? undefined : middle(peer);
  return {
    us,
    ...(peerUs === undefined ? {} : { peerUs, timesPeer: peerUs / us }),
    ...(peerError === undefined ? {} : { peerError }),
    ...(whyKernels === undefined ? {} : { whyKernels }),
    ...(flops === undefined ? {} : { teraflops: flops / us / 1e6 }),
    ...(flops === undefined || peerUs === undefined ? {} : { peerTeraflops: flops / peerUs / 1e6 }),
    ...(bytes === undefined ? {} : { gigabytesPerSecond: bytes / us / 1e3 }),
    op,
    dtype,
    sizes,
    ours,
    peer,
  };
}
