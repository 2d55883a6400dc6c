import { ConfigError } from '@megatron-ts/errors';
import { ambient, type AnyTensor, copyInto, engine, HostCopy, scope, tensor } from '@megatron-ts/tensor';
import type { StepResult } from './adam.ts';
import { keptView, keptZeros } from './flat-group.ts';
import type { LearningRateSchedule } from './learning-rate.ts';

/** Numbers of a group in a step. */
export const hyperLength = 9;

/** Sets of numbers that a step is sent with: as many steps, less one, may be under way without it being known whether they made updates. */
const sets = 8;

/** What updates are made of. */
export interface DeviceUpdateOptions {
  /** Groups of parameters. */
  readonly groups: number;
  /** Norm to which gradients are clipped; infinite for none. */
  readonly maxNorm: number;
  /** Numbers of each group for the update that follows `updates` of them; their gradScale is left to the device. */
  readonly numbersOf: (updates: number) => readonly Float32Array[];
  /** Learning rate of that update. */
  readonly schedule: LearningRateSchedule;
  /** Told of a step that was left out, when it becomes known. */
  readonly onSkip: (gradNorm: number, step: number | undefined) => void;
}

interface Known extends StepResult {
  /** Updates made with this step. */
  readonly updates: number;
}

/** A step that was asked for. */
interface Asked {
  readonly outcome: HostCopy;
  readonly step: number | undefined;
  known: Known | undefined;
}

/**
 * Updates whose norm, clipping and numbers the device works out by itself. A step whose gradients are not finite makes no update, and only
 * the device knows at first: a step is therefore sent with the numbers for each count of updates that may have been made by then, and the
 * device takes those that fit. The outcome of each step travels to the host, where nobody waits for it.
 */
export class DeviceUpdate {
  private readonly options: DeviceUpdateOptions;
  private readonly hyper: AnyTensor;
  private readonly choices: AnyTensor;
  /** Norm, whether the step was left out, and updates. */
  private readonly outcome: AnyTensor;
  /** Steps of which the host does not know yet, the first asked first. */
  private readonly underWay: Asked[] = [];
  private updates = 0;

  constructor(options: DeviceUpdateOptions) {
    this.options = options;
    const numbers = options.groups * hyperLength;
    this.hyper = keptZeros([options.groups, hyperLength], 'optimizer');
    this.choices = keptZeros([1 + sets * numbers], 'optimizer');
    this.outcome = keptZeros([3], 'optimizer', 'f64');
  }

  /** Where the kernel finds the numbers of a group; the caller disposes it. */
  hyperOf(group: number): AnyTensor {
    return keptView(this.hyper, [hyperLength], group * hyperLength);
  }

  /** Releases the buffers. */
  dispose(): void {
    for (const buffer of [this.hyper, this.choices, this.outcome]) buffer.dispose();
  }

  /** One step: `update` asks for the update by the numbers chosen for the gradients whose squares are `squares`. */
  step(squares: AnyTensor, update: () => void): StepResult {
    const { capture } = ambient;
    if (capture?.isRecording !== true) {
      this.send();
      this.choose(squares);
      update();
      const asked = this.fetch();
      return this.resultOf(() => asked);
    }
    let latest: Asked | undefined;
    capture.beforeLaunch(() => this.send());
    this.choose(squares);
    update();
    capture.afterLaunch(() => {
      latest = this.fetch();
    });
    return this.resultOf(() => latest);
  }

  /** Sends the numbers for each count of updates that there may be. */
  private send(): void {
    while (this.underWay[0]?.outcome.isReady === true || this.underWay.length >= sets) this.settle();
    const { numbersOf, groups } = this.options;
    const words = new Float32Array(1 + sets * groups * hyperLength);
    new Uint32Array(words.buffer)[0] = this.updates;
    for (let set = 0; set <= this.underWay.length && set < sets; set++)
      numbersOf(this.updates + set).forEach((numbers, group) => words.set(numbers, 1 + (set * groups + group) * hyperLength));
    scope(() => copyInto(this.choices, tensor(words)));
  }

  private choose(squares: AnyTensor): void {
    const { choices, outcome, hyper } = this;
    engine.adamWNumbers(squares.handle, this.options.maxNorm, choices.handle, outcome.handle, hyper.handle);
  }

  private fetch(): Asked {
    const asked: Asked = { outcome: new HostCopy(this.outcome, false), step: ambient.step, known: undefined };
    this.underWay.push(asked);
    return asked;
  }

  /** Learns what the first step under way did; waits for it where it must. */
  private settle(): void {
    const [asked] = this.underWay;
    if (asked === undefined) return;
    const [gradNorm = Number.NaN, skipped = 1, updates = 0] = asked.outcome.toArray<'f64'>();
    asked.known = { gradNorm, skipped: skipped !== 0, updates, lr: this.options.schedule(this.updates) };
    this.updates = updates;
    this.underWay.shift();
    if (asked.known.skipped) this.options.onSkip(gradNorm, asked.step);
  }

  private knownOf(asked: Asked | undefined): Known {
    if (asked === undefined || ambient.capture?.isRecording === true)
      throw new ConfigError(
        'CAPTURED_READ',
        'Adam: the result of a step is read while the step is captured, in which nothing has run yet. Read it when run() has returned.',
      );
    while (asked.known === undefined) this.settle();
    return asked.known;
  }

  private resultOf(step: () => Asked | undefined): StepResult {
    return new PendingResult(() => this.knownOf(step()));
  }
}

/** What a step did, once somebody looks. A class: scopes look through plain objects for tensors. */
class PendingResult implements StepResult {
  private readonly known: () => Known;

  constructor(known: () => Known) {
    this.known = known;
  }

  get gradNorm(): number {
    return this.known().gradNorm;
  }

  get skipped(): boolean {
    return this.known().skipped;
  }

  get lr(): number {
    return this.known().lr;
  }
}
