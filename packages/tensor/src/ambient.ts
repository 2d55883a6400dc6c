import type { Module } from './module.ts';
import type { Node } from './node.ts';
import type { Scope } from './scope.ts';
import type { SpanRecorder } from './spans.ts';
import type { StepCapture } from './step-capture.ts';
import type { Tape } from './tape.ts';
import type { AnyTensor } from './tensor.ts';

/** One running `module.call`, with the call around it. */
export interface Frame {
  /** The module being called. */
  readonly module: Module;
  /** The call around it. */
  readonly parent: Frame | undefined;
}

/**
 * The dynamic extent of `ctx.step`, `scope`, `noGrad`, `evaluate` and `module.call`: the only ambient state of a process.
 * Every function that changes a field restores it, also on an exception; nothing here may span an `await`.
 */
export interface Ambient {
  /** Innermost open scope. */
  scope: Scope | undefined;
  /** Tape on which operations are recorded. */
  tape: Tape | undefined;
  /** False inside `noGrad` and while a backward runs. */
  recording: boolean;
  /** True inside `evaluate`: dropout is off. */
  evaluating: boolean;
  /** Innermost module call. */
  frame: Frame | undefined;
  /** Number given to `ctx.step`. */
  step: number | undefined;
  /** Seed of the context whose `step` runs. */
  seed: number | undefined;
  /** Number of the running microbatch among those of all data-parallel ranks in this step: dropout numbers samples by it. */
  microbatch: number;
  /** Node whose backward is running. */
  backwardNode: Node | undefined;
  /** Collects what an unrecorded forward reads and needs gradients of, where that forward will run again. */
  uses: Set<AnyTensor> | undefined;
  /** The step that is captured, or will be, while it runs. */
  capture: StepCapture | undefined;
  /** Writes down what time is spent on, where somebody asked. */
  spans: SpanRecorder | undefined;
}

/** The process's ambient state. */
export const ambient: Ambient = {
  scope: undefined,
  tape: undefined,
  recording: true,
  evaluating: false,
  frame: undefined,
  step: undefined,
  seed: undefined,
  microbatch: 0,
  backwardNode: undefined,
  uses: undefined,
  capture: undefined,
  spans: undefined,
};
