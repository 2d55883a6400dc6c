import { ConfigError } from '@megatron-ts/errors';
import { alias, type AnyTensor, copyInto, type DrawKey, engine, keep, scope, tensor, zeros } from '@megatron-ts/tensor';

/** The keys of a captured step's dropouts in memory of the device: written before each launch, read by it. */
export class CapturedKeys {
  private readonly memory: AnyTensor;
  private readonly room: number;
  private readonly keysOf: ((step: number) => DrawKey)[] = [];
  private readonly known = new Set<string>();

  /** Room for `room` keys. Made before the capture begins: what is allocated within belongs to the graph. */
  constructor(room: number) {
    this.room = room;
    const made: AnyTensor[] = [];
    scope(() => {
      made.push(keep(zeros([2 * Math.max(room, 1)], 'i32')));
    });
    this.memory = made[0] as AnyTensor;
  }

  /** Lets dropouts that are told `key` read `keyOf` of the step of each launch. @throws ConfigError CONTRADICTION */
  note(key: DrawKey, keyOf: (step: number) => DrawKey): void {
    const name = key.join(' ');
    if (this.known.has(name)) return;
    if (this.known.size === this.room)
      throw new ConfigError(
        'CONTRADICTION',
        `captureStep: the step that is captured has more dropouts than the step before it, which had ${this.room}. Let every step do the same.`,
      );
    scope(() => engine.captureKey(alias(this.memory, [2], 2 * this.known.size).handle, ...key));
    this.known.add(name);
    this.keysOf.push(keyOf);
  }

  /** Writes the keys of a step. */
  write(step: number): void {
    if (this.keysOf.length === 0) return;
    const words = new Uint32Array(2 * this.room);
    this.keysOf.forEach((keyOf, i) => words.set(keyOf(step), 2 * i));
    scope(() => copyInto(this.memory, tensor(new Int32Array(words.buffer))));
  }

  /** Releases the memory. */
  dispose(): void {
    this.memory.dispose();
  }
}
