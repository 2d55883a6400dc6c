import { InternalError } from '@megatron-ts/errors';
import { exchange, type Message, type ParallelContext, type Work } from '@megatron-ts/process-groups';
import { type Action, type ComputeAction, describeAction, type ExchangeAction, type Schedule, type Transfer } from '@megatron-ts/schedule';
import {
  type AnyTensor,
  type DType,
  empty,
  evaluate,
  inCategory,
  keep,
  type Loss,
  type Module,
  scope,
  type Shape,
  withMicrobatch,
} from '@megatron-ts/tensor';
import { LossTotal } from './loss-total.ts';
import { type Address, Mailbox } from './mailbox.ts';
import { Passage } from './passage.ts';

/** What the actions of a schedule mean for a model. */
export interface ExecutorParts<B> {
  /** The mesh. */
  readonly ctx: ParallelContext;
  /** What every rank does. */
  readonly schedule: Schedule;
  /** This rank's model chunks. */
  readonly chunks: readonly Module[];
  /** A microbatch by number; may be asked for several times. */
  readonly microbatchOf: (index: number) => B;
  /** What the first stage gets. */
  readonly inputOf: (microbatch: B) => AnyTensor;
  /** One chunk's forward. */
  readonly forwardStep: (chunk: Module, input: AnyTensor, microbatch: B) => AnyTensor;
  /** Loss of the last stage's output. */
  readonly lossOf: (output: AnyTensor, microbatch: B) => Loss;
  /** Shape of what a chunk receives from the stage before. */
  readonly activationShape: (chunk: Module, microbatch: B) => Shape;
  /** Element type of it. */
  readonly activationDType: (chunk: Module) => DType;
  /** Whether backwards are left out. */
  readonly forwardOnly: boolean;
}

/** Does what one rank's list says, action by action. It decides nothing. */
export class ScheduleExecutor<B> {
  /** Losses of the microbatches that ended on this rank. */
  readonly total = new LossTotal();
  private readonly parts: ExecutorParts<B>;
  private readonly passages = new Map<string, Passage>();
  private readonly mail = new Mailbox();
  private readonly open: Work<unknown>[] = [];

  constructor(parts: ExecutorParts<B>) {
    this.parts = parts;
  }

  /** Runs all actions of this rank. */
  run(): void {
    for (const action of this.parts.schedule.ranks[this.parts.ctx.pp.rank] ?? []) this.perform(action);
    this.waitForSends();
  }

  /** Gives up what a failure left behind; nothing is left after a whole run. */
  dispose(): void {
    for (const passage of this.passages.values()) passage.dispose();
    this.passages.clear();
    this.mail.clear();
    this.total.dispose();
  }

  private perform(action: Action): void {
    if (action.kind === 'exchange') this.exchange(action);
    else if (action.kind === 'overlap') for (const part of action.parts) this.perform(part);
    else withMicrobatch(this.numberOf(action), () => this.compute(action));
  }

  private compute(action: ComputeAction): void {
    if (action.kind === 'forward') this.forward(action);
    else if (this.parts.forwardOnly) return;
    else if (action.kind === 'backwardWeight') this.backwardWeight(action);
    else this.backward(action);
  }

  /** A microbatch's number among those of all data-parallel ranks: rank by rank, as the sampler deals samples. */
  private numberOf({ microbatch }: ComputeAction): number {
    const { ctx, schedule } = this.parts;
    return ctx.dp.rank * schedule.numMicrobatches + microbatch;
  }

  private forward(action: ComputeAction): void {
    if (this.parts.forwardOnly) {
      evaluate(() => void this.outputOf(action, this.inputFor(action)));
      return;
    }
    const passage = new Passage();
    this.passages.set(keyOf(action), passage);
    scope(() => {
      const input = this.inputFor(action);
      passage.forward(action.stage === 0 ? undefined : input, () => this.outputOf(action, input));
    });
  }

  /** Output of a stage, or the sum of losses on the last. */
  private outputOf(action: ComputeAction, input: AnyTensor): AnyTensor {
    const { schedule, forwardStep, lossOf, microbatchOf } = this.parts;
    const { stage, microbatch } = action;
    const batch = microbatchOf(microbatch);
    const output = forwardStep(this.chunkOf(action), input, batch);
    if (stage < schedule.numStages - 1) {
      this.mail.put({ payload: 'activation', microbatch, fromStage: stage }, keep(output));
      return output;
    }
    const loss = lossOf(output, batch);
    this.total.add(loss);
    return loss.sum;
  }

  private inputFor({ stage, microbatch }: ComputeAction): AnyTensor {
    if (stage === 0) return this.parts.inputOf(this.parts.microbatchOf(microbatch));
    const arrived = this.mail.take({ payload: 'activation', microbatch, fromStage: stage - 1 });
    const input = arrived.detach();
    input.requiresGrad = true;
    arrived.release();
    return input;
  }

  private backward(action: ComputeAction): void {
    const { kind, stage, microbatch } = action;
    const passage = this.passageOf(action);
    const grad =
      stage === this.parts.schedule.numStages - 1 ? undefined : this.mail.take({ payload: 'gradient', microbatch, fromStage: stage + 1 });
    const inputGrad = passage.backward(grad, { deferWeights: kind === 'backwardInput' });
    grad?.release();
    if (inputGrad !== undefined) this.mail.put({ payload: 'gradient', microbatch, fromStage: stage }, inputGrad);
    if (kind === 'backward') this.forget(action);
  }

  private backwardWeight(action: ComputeAction): void {
    this.passageOf(action).backwardWeight();
    this.forget(action);
  }

  private forget(action: ComputeAction): void {
    this.passageOf(action).dispose();
    this.passages.delete(keyOf(action));
  }

  private exchange(action: ExchangeAction): void {
    const transfers = action.transfers.filter(({ payload }) => payload === 'activation' || !this.parts.forwardOnly);
    if (transfers.length === 0) return;
    this.waitForSends();
    const sends = transfers.filter(({ direction }) => direction === 'send').map((transfer) => this.sendOf(transfer));
    const receives = transfers.filter(({ direction }) => direction === 'receive').map((transfer) => this.receiveOf(transfer));
    this.open.push(exchange({ group: this.parts.ctx.pp, sends, receives, label: describeAction(action) }));
    for (const { tensor } of sends) tensor.release(); // the engine holds what is on its way
    if (receives.length > 0) this.waitForSends();
  }

  private sendOf(transfer: Transfer): Message {
    return { peer: transfer.peer, tensor: this.mail.take(addressOf(transfer)) };
  }

  private receiveOf(transfer: Transfer): Message {
    const { ctx, activationShape, activationDType, microbatchOf } = this.parts;
    const kept: AnyTensor[] = [];
    scope(() => {
      const chunk = this.chunkOf(transfer);
      const { shape, dtype } =
        transfer.payload === 'gradient'
          ? this.passageOf(transfer).outputForm
          : { shape: activationShape(chunk, microbatchOf(transfer.microbatch)), dtype: activationDType(chunk) };
      kept.push(keep(inCategory('communication', () => empty(shape, dtype))));
    });
    const [tensor] = kept;
    if (tensor === undefined) throw new InternalError('INVARIANT', `runSchedule: ${ctx.place} has nowhere to receive; this is a bug.`);
    this.mail.put(addressOf(transfer), tensor);
    return { peer: transfer.peer, tensor };
  }

  /** What was sent without waiting is waited for before the next exchange: at most one is under way. */
  private waitForSends(): void {
    for (const work of this.open.splice(0)) work.wait();
  }

  private chunkOf({ chunk }: { readonly chunk: number }): Module {
    return this.parts.chunks[chunk] as Module;
  }

  private passageOf(at: { readonly chunk: number; readonly microbatch: number }): Passage {
    const passage = this.passages.get(keyOf(at));
    if (passage === undefined)
      throw new InternalError('INVARIANT', `runSchedule: microbatch ${at.microbatch} has no forward on chunk ${at.chunk}; this is a bug.`);
    return passage;
  }
}

function keyOf({ chunk, microbatch }: { readonly chunk: number; readonly microbatch: number }): string {
  return `${chunk} ${microbatch}`;
}

function addressOf({ payload, microbatch, fromStage }: Transfer): Address {
  return { payload, microbatch, fromStage };
}
