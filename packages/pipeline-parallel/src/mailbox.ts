import { InternalError } from '@megatron-ts/errors';
import type { Payload } from '@megatron-ts/schedule';
import type { AnyTensor } from '@megatron-ts/tensor';

/** What names a tensor on its way between two stages. */
export interface Address {
  /** Output of a forward, or gradient of an input. */
  readonly payload: Payload;
  /** Of which microbatch. */
  readonly microbatch: number;
  /** Stage that made it. */
  readonly fromStage: number;
}

/** Tensors that one stage has made and the next has not used yet. The box owns them. */
export class Mailbox {
  private readonly waiting = new Map<string, AnyTensor>();

  /** Takes over the caller's reference. */
  put(address: Address, tensor: AnyTensor): void {
    this.waiting.set(keyOf(address), tensor);
  }

  /** Hands the reference over to the caller. */
  take(address: Address): AnyTensor {
    const key = keyOf(address);
    const tensor = this.waiting.get(key);
    if (tensor === undefined) throw new InternalError('INVARIANT', `runSchedule: the ${key} is used before it is there; this is a bug.`);
    this.waiting.delete(key);
    return tensor;
  }

  /** Releases what nobody took. */
  clear(): void {
    for (const tensor of this.waiting.values()) tensor.release();
    this.waiting.clear();
  }
}

function keyOf({ payload, microbatch, fromStage }: Address): string {
  return `${payload} of microbatch ${microbatch} from stage ${fromStage}`;
}
