import { type AnyTensor, engine } from '@megatron-ts/tensor';
import type { CollectiveOptions } from './collective-options.ts';
import { checkCall, requirePeer } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import type { ProcessGroup } from './process-group.ts';
import { Work } from './work.ts';

/** One message of an exchange. */
export interface Message {
  /** Rank in the group. */
  readonly peer: number;
  /** What is sent, or where a receive is written: it must be contiguous memory of the peer's size and dtype. */
  readonly tensor: AnyTensor;
}

/** What goes out and what comes in. */
export interface ExchangeOptions extends CollectiveOptions {
  /** Messages to send. */
  readonly sends?: readonly Message[];
  /** Messages to receive, into their tensors. */
  readonly receives?: readonly Message[];
}

/**
 * Sends and receives posted together: none waits for another, so that pairs of ranks may both send first.
 * @throws ProcessGroupError NOT_A_MEMBER
 */
export function exchange(options: ExchangeOptions): Work<readonly AnyTensor[]> {
  const { group, sends = [], receives = [], timeoutMs } = options;
  checkCall('exchange', options);
  requirePeers(group, sends);
  requirePeers(group, receives);
  const received = receives.map(({ tensor }) => tensor);
  if (sends.length + receives.length === 0) return new Work('exchange', received);
  const messages = listed(sends, receives);
  const id = engine.exchange(group.id, messages, sends.length, receives.length, labelOf(options));
  return new Work('exchange', received, { id, timeoutMs });
}

function requirePeers(group: ProcessGroup, messages: readonly Message[]): void {
  for (const { peer } of messages) requirePeer('exchange', group, peer);
}

/** What the engine reads the messages of a call from: kept, for making such an array takes longer than a short message. */
let list = new Uint32Array(64);

/** Pairs of rank and tensor, the sends before the receives. */
function listed(sends: readonly Message[], receives: readonly Message[]): Uint32Array {
  const length = 2 * (sends.length + receives.length);
  if (length > list.length) list = new Uint32Array(2 * length);
  put(sends, 0);
  put(receives, 2 * sends.length);
  return list;
}

function put(messages: readonly Message[], start: number): void {
  let at = start;
  for (const { peer, tensor } of messages) {
    list[at++] = peer;
    list[at++] = tensor.handle;
  }
}
