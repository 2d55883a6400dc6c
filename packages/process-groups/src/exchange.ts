import { type AnyTensor, engine } from '@megatron-ts/tensor';
import type { CollectiveOptions } from './collective-options.ts';
import { checkCall, requirePeer } from './check-call.ts';
import { labelOf } from './operation-label.ts';
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
  for (const { peer } of [...sends, ...receives]) requirePeer('exchange', group, peer);
  const received = receives.map(({ tensor }) => tensor);
  if (sends.length + receives.length === 0) return new Work('exchange', received);
  const pairs = (list: readonly Message[]) => Uint32Array.from(list.flatMap(({ peer, tensor }) => [peer, tensor.handle]));
  return new Work('exchange', received, { id: engine.exchange(group.id, pairs(sends), pairs(receives), labelOf(options)), timeoutMs });
}
