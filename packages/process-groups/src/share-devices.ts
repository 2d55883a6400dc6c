import { ConfigError } from '@megatron-ts/errors';
import type { Launch } from '@megatron-ts/launch';
import { engine, scope, tensor } from '@megatron-ts/tensor';
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { allGather } from './all-gather.ts';
import { onHost } from './on-host.ts';
import type { ProcessGroup } from './process-group.ts';

/** Where a rank computes. */
export interface Seat {
  /** A number for its host. */
  readonly host: number;
  /** Where its device is plugged in. */
  readonly socket: number;
}

/**
 * NCCL refuses ranks of one host that have the same device; ranks that pass for several hosts it lets meet over the network's loopback.
 * Where ranks share devices this gives each rank of the host the name of a host that it has in common with at most one rank of each device,
 * which NCCL reads from `NCCL_HOSTID` when it makes its first communicator, and the first of them warns. All ranks of the world call it,
 * before that.
 * @throws ConfigError CONTRADICTION for threads of one process, which have one environment
 */
export function shareDevices(group: ProcessGroup, { rank }: Launch): void {
  const [host, { socket }] = [numberOf(hostname()), engine.currentDevice() ?? { socket: -1 }];
  const seats = onHost(() =>
    scope(() => {
      const all = allGather(tensor(Float64Array.of(host, socket), [1, 2]), { group, label: 'devices of the ranks' })
        .wait()
        .toArray<'f64'>(); // [ranks, 2]
      return group.ranks.map((_, at): Seat => ({ host: all[2 * at] ?? 0, socket: all[2 * at + 1] ?? 0 }));
    }),
  );
  const place = placeAmongSharers(seats, rank);
  if (place === undefined) return;
  const warning = warningOf(seats, rank);
  if (warning !== undefined) process.stderr.write(`${warning}\n`);
  if (isMainThread) {
    process.env['NCCL_HOSTID'] ??= `${hostname()}-${place}`;
    return;
  }
  const sharers = seats.flatMap((seat, other) => (isSame(seat, seats[rank]) ? [other] : []));
  if (sharers.length > 1)
    throw new ConfigError(
      'CONTRADICTION',
      `initializeModelParallel: ranks ${sharers.join(', ')} are threads of one process and share a device, which NCCL does not allow. Start them as processes, or give each a device.`,
    );
}

/** How many ranks before this one have its device, where some ranks of its host share one; otherwise undefined. */
export function placeAmongSharers(seats: readonly Seat[], rank: number): number | undefined {
  const own = seats[rank];
  const neighbours = seats.filter(({ host }) => host === own?.host);
  const devices = new Set(neighbours.map(({ socket }) => socket));
  if (devices.size === neighbours.length) return undefined;
  return seats.slice(0, rank).filter((seat) => isSame(seat, own)).length;
}

/** What the first rank of a host says where its ranks share devices; nothing from the others. */
export function warningOf(seats: readonly Seat[], rank: number): string | undefined {
  const ranks = [...seats.keys()].filter((other) => seats[other]?.host === seats[rank]?.host);
  if (ranks[0] !== rank) return undefined;
  const devices = new Set(ranks.map((other) => seats[other]?.socket)).size;
  return (
    `initializeModelParallel: ranks ${ranks.join(', ')} share ${devices} device${devices === 1 ? '' : 's'} of their host and take turns there, `
    + 'which is for trying out layouts. Start one rank for each device.'
  );
}

function isSame(a: Seat, b: Seat | undefined): boolean {
  return a.host === b?.host && a.socket === b.socket;
}

/** 48 bits, which a number holds. */
function numberOf(text: string): number {
  return createHash('sha256').update(text).digest().readUIntBE(0, 6);
}
