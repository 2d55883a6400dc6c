import { engine } from '@megatron-ts/tensor';

/** Operations started in a step and not yet waited for. */
const open = new Set<Work<unknown>>();

/** A collective under way. Its tensors must not be used before `wait` returns. */
export class Work<T> {
  /** What was started, as errors name it. */
  readonly label: string;
  private id: number | undefined;
  private readonly value: T;
  private failure: Error | undefined = undefined;

  /** @param id - the engine's number, none when there is nothing to wait for */
  constructor(label: string, value: T, { id }: { readonly id?: number } = {}) {
    this.label = label;
    this.value = value;
    this.id = id;
    if (id !== undefined) open.add(this);
  }

  /**
   * Blocks until the operation has ended, with its deadline, the liveness of its peers and the first failure of the world in view.
   * @throws ProcessGroupError PEER_LOST, MISMATCH, TIMEOUT, ABORTED
   */
  wait(): T {
    if (this.failure !== undefined) throw this.failure;
    const { id } = this;
    if (id === undefined) return this.value;
    this.id = undefined;
    open.delete(this);
    try {
      engine.workWait(id, 0);
    } catch (cause) {
      this.failure = cause as Error;
      throw cause;
    }
    return this.value;
  }

  /** Whether the operation has ended; `wait` then returns at once. */
  get isDone(): boolean {
    return this.id === undefined || engine.workDone(this.id);
  }

  /** A promise of the same, for code that must not block. */
  get settled(): Promise<T> {
    const poll = async (): Promise<T> => {
      while (!this.isDone) await new Promise((resolve) => setTimeout(resolve, 1));
      return this.wait();
    };
    return poll();
  }
}

/** Operations that were started and never waited for; they are forgotten. */
export function takeUnwaited(): string[] {
  const labels = [...open].map(({ label }) => label);
  open.clear();
  return labels;
}
