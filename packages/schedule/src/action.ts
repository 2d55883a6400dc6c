/**
 * What one pipeline rank does, as data. A schedule is one list of actions per rank; the executor runs it, the checker proves it, the
 * simulator times it and the picture draws it. Computing is written apart from communicating: `insertExchanges` adds the second to the
 * first.
 */

/** The kinds of computing. `backward` is `backwardInput` and `backwardWeight` in one. */
export type ComputeKind = 'forward' | 'backward' | 'backwardInput' | 'backwardWeight';

/** One microbatch through one stage: forwards, backwards, or one half of backwards. */
export interface ComputeAction {
  /** Forward, backward, or one half of a backward. */
  readonly kind: ComputeKind;
  /** Global stage, 0 at the input. */
  readonly stage: number;
  /** Index of the model chunk on this rank that holds the stage. */
  readonly chunk: number;
  /** Number of the microbatch. */
  readonly microbatch: number;
}

/** Two computations of different microbatches which the executor may run interleaved, so that one hides the other's communication. */
export interface OverlapAction {
  /** Tells it from other actions. */
  readonly kind: 'overlap';
  /** The two computations, of different microbatches. */
  readonly parts: readonly [ComputeAction, ComputeAction];
}

/** What travels between stages: the output of a forward pass, or the gradient of an input. */
export type Payload = 'activation' | 'gradient';

/** One message as one of its two ends sees it. */
export interface Transfer {
  /** Which end this is. */
  readonly direction: 'send' | 'receive';
  /** What travels. */
  readonly payload: Payload;
  /** Number of the microbatch. */
  readonly microbatch: number;
  /** Stage that produces the payload. */
  readonly fromStage: number;
  /** Stage that uses it: `fromStage + 1` for an activation, `fromStage - 1` for a gradient. */
  readonly toStage: number;
  /** Chunk of this rank that produced the payload, or that will use it. */
  readonly chunk: number;
  /** Pipeline rank at the other end. */
  readonly peer: number;
}

/** Sends and receives that belong together: all are posted at once, and the exchange is over when each has met its counterpart. */
export interface ExchangeAction {
  /** Tells it from other actions. */
  readonly kind: 'exchange';
  /** All messages that are posted together. */
  readonly transfers: readonly Transfer[];
}

/** One entry of a rank's list. */
export type Action = ComputeAction | OverlapAction | ExchangeAction;

/** A computation before its stage is known: the placement tells the stage from rank, chunk and microbatch. */
export interface ComputeStep {
  /** Forward, backward, or one half of a backward. */
  readonly kind: ComputeKind;
  /** Number of the microbatch. */
  readonly microbatch: number;
  /** 0 when left out. */
  readonly chunk?: number | undefined;
}

/** Two steps to be run interleaved. */
export interface OverlapStep {
  /** Tells it from other steps. */
  readonly kind: 'overlap';
  /** The two steps, of different microbatches. */
  readonly parts: readonly [ComputeStep, ComputeStep];
}

/** One entry of a compute list, as a generator or a user writes it. */
export type Step = ComputeStep | OverlapStep;

/** A forward pass. */
export const forward = (microbatch: number, chunk = 0): ComputeStep => ({ kind: 'forward', microbatch, chunk });

/** A whole backward pass. */
export const backward = (microbatch: number, chunk = 0): ComputeStep => ({ kind: 'backward', microbatch, chunk });

/** The half of a backward pass that gives the gradient of the input. */
export const backwardInput = (microbatch: number, chunk = 0): ComputeStep => ({ kind: 'backwardInput', microbatch, chunk });

/** The half of a backward pass that gives the gradients of the weights. */
export const backwardWeight = (microbatch: number, chunk = 0): ComputeStep => ({ kind: 'backwardWeight', microbatch, chunk });

/** Two steps run interleaved. */
export const overlap = (first: ComputeStep, second: ComputeStep): OverlapStep => ({ kind: 'overlap', parts: [first, second] });

/** The computations of an action: one, two, or none for an exchange. */
export function computeParts(action: Action): readonly ComputeAction[] {
  if (action.kind === 'exchange') return [];
  return action.kind === 'overlap' ? action.parts : [action];
}

/** An action in words, as errors name it. */
export function describeAction(action: Action): string {
  if (action.kind === 'overlap') return action.parts.map(describeAction).join(' with ');
  if (action.kind !== 'exchange') return `${computeWords[action.kind]} of microbatch ${action.microbatch} on stage ${action.stage}`;
  return action.transfers.length === 0 ? 'an empty exchange' : action.transfers.map(describeTransfer).join(' and ');
}

/** A transfer in words. */
export function describeTransfer({ direction, payload, microbatch, peer }: Transfer): string {
  return `${direction} ${payload} of microbatch ${microbatch} ${direction === 'send' ? 'to' : 'from'} rank ${peer}`;
}

const computeWords = { forward: 'forward', backward: 'backward', backwardInput: 'backward input', backwardWeight: 'backward weight' };
