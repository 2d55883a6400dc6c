import { allReduce, type ProcessGroup, type Work } from '@megatron-ts/process-groups';
import { alias, type AnyTensor, empty, keep, type Parameter, scope } from '@megatron-ts/tensor';
import { GradSlot } from './grad-slot.ts';
import type { BucketPlan } from './plan-buckets.ts';

/** How a bucket is made. */
export interface BucketOptions {
  /** What lies where. */
  readonly plan: BucketPlan;
  /** The parameters that the plan's indices mean. */
  readonly parameters: readonly Parameter[];
  /** Ranks over which gradients are summed. */
  readonly group: ProcessGroup;
  /** Whether sums of later groups of microbatches are kept apart until they are whole. */
  readonly inGroups: boolean;
  /** What errors and recorders call its reduction. */
  readonly label: string;
}

/** A flat buffer of gradients that are summed over the group at once, as soon as all of them are complete. */
export class GradBucket {
  /** Its parameters' places. */
  readonly slots: readonly GradSlot[];
  private readonly buffers: readonly AnyTensor[];
  private readonly group: ProcessGroup;
  private readonly label: string;
  private work: Work<AnyTensor> | undefined = undefined;

  constructor({ plan, parameters, group, inGroups, label }: BucketOptions) {
    const buffers: AnyTensor[] = [];
    const slots: GradSlot[] = [];
    scope(() => {
      for (let i = 0; i < (inGroups ? 2 : 1); i++) buffers.push(keep(empty([plan.numel])));
      for (const { index, offset } of plan.slots) {
        const parameter = parameters[index] as Parameter;
        const [total, partial] = buffers.map((buffer) => keep(alias(buffer, parameter.shape, offset)));
        slots.push(new GradSlot(parameter, total as AnyTensor, partial));
      }
    });
    this.buffers = buffers;
    this.slots = slots;
    this.group = group;
    this.label = label;
  }

  /** Whether the reduction has begun: nothing may be added. */
  get isStarted(): boolean {
    return this.work !== undefined;
  }

  /** Begins the reduction once every gradient is complete. */
  startIfComplete(): void {
    if (this.slots.every(({ isComplete }) => isComplete)) this.start();
  }

  /** Begins the reduction with what there is; a gradient that never came counts as zero. */
  start(): void {
    if (this.work !== undefined) return;
    for (const slot of this.slots) slot.settle();
    this.work = allReduce(this.buffers[0] as AnyTensor, { group: this.group, label: this.label });
  }

  /** Waits for the reduction, if it has begun. Afterwards the bucket is as new. */
  wait(): void {
    const { work } = this;
    this.work = undefined;
    work?.wait();
  }

  /** Releases the memory. */
  dispose(): void {
    for (const slot of this.slots) slot.dispose();
    for (const buffer of this.buffers) buffer.dispose();
  }
}
