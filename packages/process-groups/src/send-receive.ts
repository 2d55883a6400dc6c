import { type AnyTensor, engine } from '@megatron-ts/tensor';
import type { CollectiveOptions } from './collective-options.ts';
import { checkCall, requirePeer } from './check-call.ts';
import { labelOf } from './operation-label.ts';
import { Work } from './work.ts';

/** The other end of a message. */
export interface PeerOptions extends CollectiveOptions {
  /** Rank in the group. */
  readonly peer: number;
}

/**
 * Sends `t` to one rank, which calls `recv`. Two ranks that both send and wait before they receive may wait for each other: `exchange`
 * posts both at once.
 * @throws ProcessGroupError NOT_A_MEMBER
 */
export function send<T extends AnyTensor>(t: T, options: PeerOptions): Work<T> {
  const { group, peer, timeoutMs } = options;
  checkCall('send', options);
  requirePeer('send', group, peer);
  return new Work('send', t, { id: engine.send(group.id, t.handle, peer, labelOf(options)), timeoutMs });
}

/** Receives into `t` what one rank sends; size and dtype are equal on both. @throws ProcessGroupError NOT_A_MEMBER */
export function recv<T extends AnyTensor>(t: T, options: PeerOptions): Work<T> {
  const { group, peer, timeoutMs } = options;
  checkCall('recv', options);
  requirePeer('recv', group, peer);
  return new Work('recv', t, { id: engine.recv(group.id, t.handle, peer, labelOf(options)), timeoutMs });
}
