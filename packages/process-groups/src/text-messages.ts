import { type AnyTensor, scope, type Synchronous, tensor } from '@megatron-ts/tensor';
import { allGather } from './all-gather.ts';
import { broadcast, type BroadcastOptions } from './broadcast.ts';
import { gatherToRoot, type GatherToRootOptions } from './gather-to-root.ts';
import { onHost } from './on-host.ts';

const textOf = (bytes: AnyTensor) => new TextDecoder().decode(bytes.toArray<'u8'>());

/** Texts are made and read by the host. */
const onHostScope = <T>(f: () => Synchronous<T>): T => onHost(() => scope(f));

/** The root's text on every rank; what the others bring does not matter. */
export function broadcastText(text: string, options: BroadcastOptions): string {
  if (options.group.size === 1) return text;
  const bytes = new TextEncoder().encode(text);
  return onHostScope(() => {
    const length = broadcast(tensor(Int32Array.of(bytes.length)), options)
      .wait()
      .item();
    const isRoot = options.group.rank === (options.root ?? 0);
    return textOf(broadcast(tensor(isRoot ? bytes : new Uint8Array(length)), options).wait());
  });
}

/** The texts of all ranks on the root, by rank; the others get nothing. */
export function gatherTexts(text: string, options: Omit<GatherToRootOptions, 'rows'>): string[] {
  if (options.group.size === 1) return [text];
  const bytes = new TextEncoder().encode(text);
  return onHostScope(() => {
    const rows = [
      ...allGather(tensor(Int32Array.of(bytes.length)), options)
        .wait()
        .toArray<'i32'>(),
    ];
    const all = gatherToRoot(tensor(bytes), { ...options, rows }).wait();
    if (all === undefined) return [];
    const joined = all.toArray<'u8'>();
    let start = 0;
    return rows.map((length) => new TextDecoder().decode(joined.subarray(start, (start += length))));
  });
}
