import type { AnyTensor } from './tensor.ts';

/** Two words that dropouts draw from. */
export type DrawKey = readonly [number, number];

/** A step that is recorded as a graph or will be, as those see it whose numbers change from step to step. */
export interface StepCapture {
  /** Whether operations are recorded now: nothing is done, and no value can be read. False in the steps before, which run as they are. */
  readonly isRecording: boolean;
  /** A dropout draws from `key`, which is `keyOf(step)` of the running step: each launch reads that of its own. */
  noteKey(key: DrawKey, keyOf: (step: number) => DrawKey): void;
  /** Memory with these numbers, which are the same in every step, in a tensor of the running scope; undefined where there is none yet. */
  constant(data: Float32Array | Int32Array, shape: readonly number[]): AnyTensor | undefined;
  /** Has `f` run before each launch, inside its step: what it writes to memory the launch reads. */
  beforeLaunch(f: () => void): void;
  /** Has `f` run when a launch has been asked for, inside its step. */
  afterLaunch(f: () => void): void;
}
