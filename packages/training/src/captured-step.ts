import { ConfigError, ShapeError } from '@megatron-ts/errors';
import type { ParallelContext } from '@megatron-ts/process-groups';
import {
  ambient,
  type AnyTensor,
  copyInto,
  empty,
  engine,
  flushReleases,
  formatShape,
  isChecking,
  keep,
  sameShape,
  scope,
  type StepCapture,
  Tensor,
} from '@megatron-ts/tensor';
import { CapturedConstants } from './captured-constants.ts';
import { CapturedKeys } from './captured-keys.ts';

/** What a step may return: tensors, which each launch fills anew. */
export type StepOutput = AnyTensor | readonly AnyTensor[] | Readonly<Record<string, AnyTensor>> | undefined | void;

/** How a step is captured. */
export interface CaptureOptions {
  /** The context whose steps they are: one rank on a device of CUDA. */
  readonly ctx: ParallelContext;
  /** Steps that run as they are before one is captured, so that everything is compiled, planned and allocated by then; 3 by default. */
  readonly warmupSteps?: number;
}

/** A graph, and what belongs to it. */
interface Recorded<O> {
  readonly graph: number;
  readonly output: O;
  readonly keys: CapturedKeys;
  readonly before: readonly (() => void)[];
  readonly after: readonly (() => void)[];
}

/**
 * A training step that is asked of the device with one call: kernels, products and the update of the weights are recorded once as a CUDA
 * graph, and launched from then on. `captureStep` makes it.
 */
export class CapturedStep<I extends readonly AnyTensor[], O extends StepOutput> {
  private readonly f: (...inputs: I) => O;
  private readonly ctx: ParallelContext;
  private readonly warmupSteps: number;
  private inputs: readonly AnyTensor[] | undefined = undefined;
  private steps = 0;
  /** Keys that the step before drew from: as many as the one that is captured will. */
  private keyCount = 0;
  private readonly constants = new CapturedConstants();
  private output: O | undefined = undefined;
  private recorded: Recorded<O> | undefined = undefined;
  private isDisposed = false;

  /** Use `captureStep`. */
  constructor(f: (...inputs: I) => O, { ctx, warmupSteps = 3 }: CaptureOptions) {
    refuseWhere(ctx, warmupSteps);
    this.f = f;
    this.ctx = ctx;
    this.warmupSteps = warmupSteps;
  }

  /** Whether steps are launched as a graph by now. */
  get isCaptured(): boolean {
    return this.recorded !== undefined;
  }

  /**
   * Step `n`, as `ctx.step(n, …)` would run it. The inputs are copied into memory of the step's own. What it returns belongs to the step, is
   * overwritten by the next and released by `dispose`: read it before, or `copyToHost` it.
   * @throws ShapeError SHAPE_MISMATCH for inputs of another shape or dtype than those of the first step
   * @throws ConfigError CONTRADICTION for a step that cannot be recorded, EngineError ENGINE_REFUSED for one that reads values or makes
   * tensors of numbers of the host
   */
  run(n: number, ...inputs: I): O {
    if (this.isDisposed) throw new ConfigError('CONTRADICTION', 'CapturedStep.run: the step was disposed. Capture a new one.');
    refuseChecking();
    const own = this.ownInputs(inputs);
    own.forEach((input, i) => copyInto(input, inputs[i] as AnyTensor));
    if (this.recorded === undefined && this.steps >= this.warmupSteps) this.recorded = this.record(n, own as I);
    this.steps++;
    return this.recorded === undefined ? this.runAsItIs(n, own as I) : this.launch(n, this.recorded);
  }

  /** Ends the graph, and releases its memory, the inputs' and that of what the step returned. */
  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    this.releaseOutput();
    for (const input of this.inputs ?? []) input.dispose();
    this.constants.dispose();
    this.recorded?.keys.dispose();
    flushReleases();
    if (this.recorded !== undefined) engine.dropGraph(this.recorded.graph);
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  private ownInputs(given: I): readonly AnyTensor[] {
    this.inputs ??= keptOf(() => given.map(({ shape, dtype }) => empty(shape, dtype)));
    const { inputs } = this;
    const at = given.findIndex(({ shape, dtype }, i) => dtype !== inputs[i]?.dtype || !sameShape(shape, inputs[i].shape));
    if (at < 0 && given.length === inputs.length) return inputs;
    const form = (tensor: AnyTensor | undefined) => (tensor === undefined ? 'none' : `${tensor.dtype}${formatShape(tensor.shape)}`);
    const number = at < 0 ? given.length : at;
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `CapturedStep.run: input ${number} is ${form(given[number])}, and was ${form(inputs[number])} in the first step. Give every step inputs `
        + 'of the same shapes, or capture a step for each.',
    );
  }

  private runAsItIs(n: number, inputs: I): O {
    const keys = new Set<string>();
    const capture: StepCapture = {
      isRecording: false,
      noteKey: (key) => keys.add(key.join(' ')),
      constant: (data, shape) => this.constants.find(data, shape) ?? this.constants.make(data, shape),
      beforeLaunch: () => undefined,
      afterLaunch: () => undefined,
    };
    const output = this.within(capture, n, inputs);
    this.keyCount = keys.size;
    return output;
  }

  /** Runs `f` in a step, and takes what it returns from the scope. */
  private within(capture: StepCapture, n: number, inputs: I): O {
    this.releaseOutput();
    const outer = ambient.capture;
    ambient.capture = capture;
    try {
      this.ctx.step(n, () => {
        const output = this.f(...inputs);
        for (const tensor of tensorsOf(output)) keep(tensor);
        this.output = output;
      });
      return this.output as O;
    } finally {
      ambient.capture = outer;
    }
  }

  private record(n: number, inputs: I): Recorded<O> {
    const [before, after]: [(() => void)[], (() => void)[]] = [[], []];
    const keys = new CapturedKeys(this.keyCount);
    const capture: StepCapture = {
      isRecording: true,
      noteKey: (key, keyOf) => keys.note(key, keyOf),
      constant: (data, shape) => this.constants.find(data, shape),
      beforeLaunch: (f) => before.push(f),
      afterLaunch: (f) => after.push(f),
    };
    flushReleases(); // what is released from here on counts as the graph's
    engine.beginCapture();
    try {
      const output = this.within(capture, n, inputs);
      flushReleases();
      return { graph: engine.endCapture(), output, keys, before, after };
    } catch (cause) {
      engine.abandonCapture();
      keys.dispose();
      throw cause;
    }
  }

  private launch(n: number, { graph, output, keys, before, after }: Recorded<O>): O {
    this.ctx.step(n, () => {
      keys.write(n);
      for (const f of before) f();
      engine.launchGraph(graph);
      for (const f of after) f();
    });
    return output;
  }

  private releaseOutput(): void {
    for (const tensor of tensorsOf(this.output)) tensor.release();
    this.output = undefined;
  }
}

/**
 * A training step that becomes a CUDA graph: `f` runs as it is for a few steps, is then recorded, and never runs again; each further step
 * is one launch. Every step has to do the same with inputs of the same shapes, begin without gradients, and end so (`optimizer.step()`
 * sees to it). What changes is read from memory: the inputs, the keys of dropouts, and the optimizer's numbers. Numbers that `f` itself
 * works out, other than tensors, stay as they were when it was recorded. `f` reads no values and makes no tensors of numbers; hooks and
 * what else it does on the host happen once. Bits are those of the steps as they are.
 * @throws ConfigError NOT_BUILT on the CPU and for several ranks, CONTRADICTION while `MEGATRON_CHECK` is 1, INVALID_OPTION
 * @source PyTorch, `torch.cuda.CUDAGraph`; Megatron-core, `full_cuda_graph.py`
 */
export function captureStep<I extends readonly AnyTensor[], O extends StepOutput>(
  f: (...inputs: I) => O,
  options: CaptureOptions,
): CapturedStep<I, O> {
  return new CapturedStep(f, options);
}

function refuseWhere({ device, world }: ParallelContext, warmupSteps: number): void {
  if (device === 'cpu')
    throw new ConfigError('NOT_BUILT', 'captureStep: the context is on the CPU, which has no graphs. Use device: "cuda", or ctx.step.');
  if (world.size > 1)
    throw new ConfigError(
      'NOT_BUILT',
      `captureStep: there are ${world.size} ranks, and steps with collectives are not captured yet. Use one rank, or ctx.step.`,
    );
  if (!Number.isInteger(warmupSteps) || warmupSteps < 1)
    throw new ConfigError('INVALID_OPTION', `captureStep: warmupSteps is ${warmupSteps}. Use a whole number of at least 1.`);
  refuseChecking();
}

function refuseChecking(): void {
  if (isChecking())
    throw new ConfigError(
      'CONTRADICTION',
      'captureStep: MEGATRON_CHECK is on, which reads every result, and a step that is captured reads none. Turn it off, or use ctx.step.',
    );
}

/** Tensors that belong to the caller alone, whichever scope is open. */
function keptOf(make: () => readonly AnyTensor[]): readonly AnyTensor[] {
  const kept: AnyTensor[] = [];
  scope(() => {
    for (const tensor of make()) kept.push(keep(tensor));
  });
  return kept;
}

/** The tensors of what a step returned. @throws ConfigError CONTRADICTION */
function tensorsOf(output: StepOutput): readonly AnyTensor[] {
  if (output === undefined || output instanceof Tensor) return output === undefined ? [] : [output];
  const members: readonly unknown[] = Array.isArray(output) ? output : Object.values(output as Record<string, unknown>);
  const stranger = members.find((member) => !(member instanceof Tensor));
  if (typeof output === 'object' && stranger === undefined) return members as readonly AnyTensor[];
  throw new ConfigError(
    'CONTRADICTION',
    `captureStep: the step returned ${typeof (typeof output === 'object' ? stranger : output)}, which no launch could change. Return tensors, an `
      + 'array of them, or a plain object of them.',
  );
}
