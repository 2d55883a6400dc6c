import { type AnyTensor, axpy, engine, type Parameter } from '@megatron-ts/tensor';

/**
 * A parameter's gradient inside a bucket. The first group of microbatches is summed where the total lies, each later one apart, to be
 * added when it is whole: the order of sums that as many data-parallel ranks have.
 */
export class GradSlot {
  /** Whose gradient this is. */
  readonly parameter: Parameter;
  /** Microbatches whose contribution is in. */
  microbatches = 0;
  /** Whether all contributions of the step are in. */
  isComplete = false;
  private readonly total: AnyTensor;
  private readonly partial: AnyTensor | undefined;
  private inPartial = false;

  constructor(parameter: Parameter, total: AnyTensor, partial: AnyTensor | undefined) {
    this.parameter = parameter;
    this.total = total;
    this.partial = partial;
    parameter.useGradBuffer(total);
  }

  /** A group of microbatches is whole; the next contribution begins another. */
  endGroup(): void {
    if (this.partial === undefined) return;
    if (this.inPartial) this.addPartial();
    else this.fillIfMissing();
    this.parameter.useGradBuffer(this.partial);
    this.inPartial = true;
  }

  /** Leaves the parameter with the total: zero when nothing has come. */
  settle(): void {
    if (this.inPartial) {
      this.addPartial();
      this.parameter.useGradBuffer(this.total);
      void this.parameter.gradTarget(); // the total is there already
    } else this.fillIfMissing();
    this.inPartial = false;
  }

  /** Forgets what has come. */
  reset(): void {
    this.microbatches = 0;
    this.isComplete = false;
    if (this.inPartial) this.parameter.useGradBuffer(this.total);
    this.inPartial = false;
  }

  /** Releases the views. */
  dispose(): void {
    this.total.dispose();
    this.partial?.dispose();
  }

  private addPartial(): void {
    if (this.partial !== undefined && this.parameter.grad !== undefined) axpy(this.total, 1, this.partial);
  }

  private fillIfMissing(): void {
    if (this.parameter.grad !== undefined) return;
    engine.fill(this.total.handle, 0);
    void this.parameter.gradTarget(); // from now on it has a gradient
  }
}
