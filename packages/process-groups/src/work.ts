import { engine, inSpan } from '@megatron-ts/tensor';

/** Operations started in a step and not yet waited for, in any order; each knows its place. */
const open: Work<unknown>[] = [];

/** What an operation under way is made of. */
export interface WorkParts {
  /** The engine's number; none when there is nothing to wait for. */
  readonly id?: number | undefined;
  /** Deadline in milliseconds from its start; that of its group when absent. */
  readonly timeoutMs?: number | undefined;
}

/** A collective under way. Its tensors must not be used before `wait` returns. */
export class Work<T> {
  /** What was started, as errors name it. */
  readonly label: string;
  private id: number | undefined;
  private readonly value: T;
  private readonly deadline: number | undefined;
  private failure: Error | undefined = undefined;
  private place = -1;

  /** Collectives make it. */
  constructor(label: string, value: T, { id, timeoutMs }: WorkParts = {}) {
    this.label = label;
    this.value = value;
    this.id = id;
    this.deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
    if (id !== undefined) this.place = open.push(this) - 1;
  }

  /** Closes the gap that this operation leaves among the open ones, unless they were forgotten. */
  private leave(): void {
    if (open[this.place] !== this) return;
    const last = open.pop() as Work<unknown>;
    if (last === this) return;
    last.place = this.place;
    open[this.place] = last;
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
    this.leave();
    try {
      const left = this.deadline === undefined ? 0 : Math.max(1, this.deadline - performance.now());
      inSpan(
        'wait',
        () => this.label,
        () => engine.workWait(id, left),
      );
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
      while (!this.isDone && !this.isLate) await new Promise((resolve) => setTimeout(resolve, 1));
      return this.wait();
    };
    return poll();
  }

  /** Whether its own deadline has passed: `wait` then says so at once. */
  private get isLate(): boolean {
    return this.deadline !== undefined && performance.now() > this.deadline;
  }
}

/** Operations that were started and never waited for; they are forgotten. */
export function takeUnwaited(): string[] {
  const labels = open.map(({ label }) => label);
  open.length = 0;
  return labels;
}
