/** What a computation takes from other stages and gives to them: the one place that knows how data flows along a route. */
import type { ComputeAction, Payload, Transfer } from './action.ts';
import type { Schedule } from './schedule.ts';
import { routeOf, type Seat } from './stage-placement.ts';

/** One payload on its way from the stage that makes it to the stage that uses it. */
export interface Message {
  readonly payload: Payload;
  readonly microbatch: number;
  readonly fromStage: number;
  readonly toStage: number;
  readonly sender: Seat;
  readonly receiver: Seat;
}

/** The part of a schedule that tells where data flows. */
export type Flow = Pick<Schedule, 'numStages' | 'placement'>;

/**
 * The message a computation must have before it starts, or `undefined` when it needs none: the first forward, the last backward, any
 * weight gradient.
 */
export function messageNeeded({ kind, stage, microbatch }: ComputeAction, flow: Flow): Message | undefined {
  if (kind === 'backwardWeight') return undefined;
  return kind === 'forward'
    ? message(flow, { payload: 'activation', microbatch, fromStage: stage - 1, toStage: stage })
    : message(flow, { payload: 'gradient', microbatch, fromStage: stage + 1, toStage: stage });
}

/** The message a computation makes, or `undefined` when nobody waits for it: the last forward, the first backward, any weight gradient. */
export function messageMade({ kind, stage, microbatch }: ComputeAction, flow: Flow): Message | undefined {
  if (kind === 'backwardWeight') return undefined;
  return kind === 'forward'
    ? message(flow, { payload: 'activation', microbatch, fromStage: stage, toStage: stage + 1 })
    : message(flow, { payload: 'gradient', microbatch, fromStage: stage, toStage: stage - 1 });
}

/** Whether a message stays on its rank, so that it is handed over without a transfer. */
export function isLocal({ sender, receiver }: Message): boolean {
  return sender.rank === receiver.rank;
}

/** A name that tells messages of one schedule apart; both ends of a transfer have the same. */
export function messageKey({ payload, microbatch, fromStage }: Pick<Message, 'payload' | 'microbatch' | 'fromStage'>): string {
  return `${payload} ${microbatch} ${fromStage}`;
}

/** A message as its sender or its receiver sees it. */
export function transferOf(
  { payload, microbatch, fromStage, toStage, sender, receiver }: Message,
  direction: Transfer['direction'],
): Transfer {
  const [here, there] = direction === 'send' ? [sender, receiver] : [receiver, sender];
  return { direction, payload, microbatch, fromStage, toStage, chunk: here.chunk, peer: there.rank };
}

function message(flow: Flow, travels: Omit<Message, 'sender' | 'receiver'>): Message | undefined {
  const route = routeOf(flow.placement, travels.microbatch);
  const sender = route[travels.fromStage];
  const receiver = route[travels.toStage];
  return sender === undefined || receiver === undefined ? undefined : { ...travels, sender, receiver };
}
