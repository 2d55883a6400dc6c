import { type AnyTensor, backward, keep, scope, Tape, Tensor, zeros } from '@megatron-ts/tensor';

/** What a forward of one microbatch through one stage leaves for its backward. */
export class Passage {
  /** The record of the forward. */
  readonly tape = new Tape();
  private input: AnyTensor | undefined = undefined;
  private output: AnyTensor | undefined = undefined;
  private ownsOutput = false;

  /**
   * Runs and records `f`.
   * @param input - leaf whose gradient the stage before waits for; none on the first stage
   */
  forward(input: AnyTensor | undefined, f: () => AnyTensor): void {
    this.input = input === undefined ? undefined : keep(input);
    this.remember(this.tape.run(f));
  }

  /** Shape and element type of the output, and so of its gradient. */
  get outputForm(): Pick<AnyTensor, 'shape' | 'dtype'> {
    return this.output ?? { shape: [], dtype: 'f32' };
  }

  /**
   * Runs the backward from the gradient of the output, which is 1 for a loss.
   * @returns the gradient of the input, owned by the caller; none on the first stage
   */
  backward(grad: AnyTensor | undefined, { deferWeights }: { readonly deferWeights: boolean }): AnyTensor | undefined {
    const { input, output } = this;
    if (output === undefined) return undefined;
    const found: AnyTensor[] = [];
    scope(() => {
      this.tape.deferWeightGradients = deferWeights;
      backward([output], grad === undefined ? [] : [grad]);
      if (input !== undefined) found.push(keep(input.grad ?? zeros(input.shape, input.dtype)));
    });
    this.releaseEnds();
    return found[0];
  }

  /** Runs the weight gradients that `backward` put off. */
  backwardWeight(): void {
    scope(() => this.tape.runWeightGradients());
  }

  /** Gives up everything. */
  dispose(): void {
    this.releaseEnds();
    this.tape.dispose();
  }

  // Backward needs to know which node made the output, not its values: a stand-in without memory lets them go once they are sent.
  private remember(output: AnyTensor): void {
    const { node } = output;
    if (node === undefined) {
      this.output = keep(output);
      this.ownsOutput = true;
      return;
    }
    const { shape, dtype, placement } = output;
    this.output = new Tensor(0, { shape, dtype, placement: placement as 'replicated' });
    this.output.attach(node, output.outputIndex);
  }

  private releaseEnds(): void {
    this.input?.release();
    if (this.ownsOutput) this.output?.release();
    this.input = undefined;
    this.output = undefined;
    this.ownsOutput = false;
  }
}
