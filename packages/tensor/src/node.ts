import { ambient, type Frame } from './ambient.ts';
import { isChecking } from './check-mode.ts';
import { Tape } from './tape.ts';
import type { AnyTensor } from './tensor.ts';
import { callerLine } from './where-in-model.ts';

/** Gradients of an operation's inputs; null or undefined where none flows. */
export type InputGradients = readonly (AnyTensor | null | undefined)[];

/**
 * Backward of one recorded operation, from the gradients of its outputs to those of its inputs. What needs time but no computing, such as a
 * collective, is begun here and ended in a function that gives the gradients: it is called when the weight gradients have been computed.
 */
export type BackwardFunction = (...grads: AnyTensor[]) => InputGradients | (() => InputGradients);

/** What an operation leaves for its backward. */
export interface Recording {
  /** Name in errors. */
  readonly op: string;
  /** Inputs in the order of the gradients. */
  readonly inputs: readonly AnyTensor[];
  /** Tensors held until backward has run. A parameter is saved by reference and asked for its storage then. */
  readonly saved: readonly AnyTensor[];
  /** Gradients of the inputs. */
  readonly backward: BackwardFunction;
  /** Weight gradients, written straight into `gradTarget()`; may run later than `backward`. */
  readonly backwardWeight?: ((...grads: AnyTensor[]) => void) | undefined;
}

let nextSequence = 0;

/** The number that the next node gets. */
export function upcomingSequence(): number {
  return nextSequence;
}

/** One recorded operation. It hangs from its outputs and belongs to a tape. */
export class Node implements Recording {
  readonly op: string;
  readonly inputs: readonly AnyTensor[];
  readonly saved: readonly AnyTensor[];
  readonly backward: BackwardFunction;
  readonly backwardWeight: ((...grads: AnyTensor[]) => void) | undefined;
  /** Nodes that made the inputs, taken at recording time. */
  readonly sources: readonly (Node | undefined)[];
  /** Position in the order of forwards. */
  readonly sequence: number;
  /** The tape it belongs to. */
  readonly tape: Tape;
  /** Module call in which the operation ran. */
  readonly frame: Frame | undefined;
  /** Caller's line, kept under `MEGATRON_CHECK=1`. */
  readonly line: string | undefined;
  /** Gradients of the outputs, as they arrive. */
  readonly grads: (AnyTensor | undefined)[];
  /** Whether the gradient of an output is a sum this node owns alone; nothing where it is not. */
  readonly ownsGrad: (boolean | undefined)[] = [];
  /** Shapes of the outputs, for those that no gradient reaches. */
  readonly outputs: readonly Pick<AnyTensor, 'shape' | 'dtype'>[];
  private live = true;

  constructor(recording: Recording, outputs: readonly AnyTensor[]) {
    this.op = recording.op;
    this.inputs = recording.inputs;
    this.saved = recording.saved;
    this.backward = recording.backward;
    this.backwardWeight = recording.backwardWeight;
    const { inputs } = recording;
    // Loops, not callbacks: this runs once for every operation of a forward.
    const sources = new Array<Node | undefined>(inputs.length);
    for (let i = 0; i < inputs.length; i++) sources[i] = inputs[i]?.node;
    this.sources = sources;
    this.sequence = nextSequence++;
    this.frame = ambient.frame;
    this.line = isChecking() ? callerLine() : undefined;
    const forms: Pick<AnyTensor, 'shape' | 'dtype'>[] = [];
    this.grads = [];
    for (const { shape, dtype } of outputs) {
      forms.push({ shape, dtype });
      this.grads.push(undefined);
    }
    this.outputs = forms;
    this.tape = ambient.tape ?? sources.find((source) => source !== undefined)?.tape ?? new Tape();
    for (const tensor of this.saved) tensor.retain();
    this.tape.push(this);
  }

  /** Whether backward may still run. */
  get isLive(): boolean {
    return this.live;
  }

  /** Gives up what is saved, and gradients that never were used. */
  free(): void {
    if (!this.live) return;
    this.live = false;
    for (const tensor of this.saved) tensor.release();
    const { grads } = this;
    for (let i = 0; i < grads.length; i++) {
      grads[i]?.release();
      grads[i] = undefined;
    }
  }
}

/** Whether somebody wants to know of an operation on these inputs; where nobody does, its record need not be made. */
export function isRecorded(a: AnyTensor, b: AnyTensor = a): boolean {
  return (a.requiresGrad || b.requiresGrad) && (ambient.recording || ambient.uses !== undefined);
}

/** Whether a node is to be made; notes what is used where one is not. */
function needsNode({ inputs }: Recording): boolean {
  if (!ambient.recording) {
    if (ambient.uses !== undefined) for (const input of inputs) if (input.requiresGrad) ambient.uses.add(input);
    return false;
  }
  for (const input of inputs) if (input.requiresGrad) return true;
  return false;
}

/** Ties `output` to a node when recording is on and an input needs a gradient. */
export function record<T extends AnyTensor>(output: T, recording: Recording): T {
  if (needsNode(recording)) output.attach(new Node(recording, [output]), 0);
  return output;
}

/** The same for an operation with several outputs. */
export function recordAll(outputs: readonly AnyTensor[], recording: Recording): void {
  if (!needsNode(recording)) return;
  const node = new Node(recording, outputs);
  outputs.forEach((output, index) => output.attach(node, index));
}
