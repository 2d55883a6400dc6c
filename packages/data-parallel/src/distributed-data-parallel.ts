import { ConfigError } from '@megatron-ts/errors';
import { contextOf } from '@megatron-ts/optimizer';
import { finalizeGrads, type GradientReducer, type ParallelContext, type ProcessGroup } from '@megatron-ts/process-groups';
import { bytesPerElement, type GradSynchronizer, type InitializationContext, Module, type Parameter } from '@megatron-ts/tensor';
import { GradBucket } from './grad-bucket.ts';
import type { GradSlot } from './grad-slot.ts';
import { planBuckets } from './plan-buckets.ts';

/** How gradients of replicas become one. */
export interface DataParallelOptions {
  /** Ranks that hold the same parameters and see other data. */
  readonly dpGroup: ProcessGroup;
  /**
   * `'sum'` (default) for losses that are sums: `finalizeGrads` divides by the number of tokens. `'mean'` for losses that are means:
   * divides by ranks times microbatches.
   */
  readonly gradReduction?: 'sum' | 'mean';
  /** Size at which a bucket closes; 25 MiB by default. */
  readonly bucketBytes?: number;
  /**
   * On one rank: groups into which the step's microbatches fall and which are summed apart, so that the bits are those of as many ranks;
   * 1 by default.
   */
  readonly accumulationGroups?: number;
}

interface Home {
  readonly slot: GradSlot;
  readonly bucket: GradBucket;
}

/**
 * A model whose gradients are summed over data-parallel ranks while backward runs. Each rank's microbatches are added in turn, then the
 * ranks by number. Parameters and their names are those of the wrapped module.
 *
 * In a loop of one backward per step nothing else is needed: `optimizer.step()` waits for the sums. A loop of several calls
 * `beginStep(n)` before them, or `noSync` around all but the last.
 */
export class DistributedDataParallel<M extends Module = Module> extends Module implements GradSynchronizer, GradientReducer {
  /** The model. */
  readonly module: M;
  override readonly forward: M['forward'];
  readonly #ctx: ParallelContext;
  readonly #group: ProcessGroup;
  readonly #reduction: 'sum' | 'mean';
  readonly #accumulationGroups: number;
  readonly #trained: readonly Parameter[];
  readonly #buckets: readonly GradBucket[];
  readonly #homes = new Map<Parameter, Home>();
  #expected: number | undefined = undefined;
  #holding = false;

  /**
   * Allocates one f32 gradient for each parameter, in buckets.
   * @param module - initialized
   * @throws ConfigError NOT_INITIALIZED, INVALID_OPTION, INVALID_CONTEXT, CONTRADICTION
   */
  constructor(module: M, { dpGroup, gradReduction = 'sum', bucketBytes = 25 * 2 ** 20, accumulationGroups = 1 }: DataParallelOptions) {
    super();
    this.module = module;
    this.path = module.path;
    this.forward = ((...args: never[]) => module.call(...args)) as M['forward'];
    this.#ctx = contextOf(name, module.parameters());
    checkOptions({ dpGroup, gradReduction, bucketBytes, accumulationGroups }, this.#ctx);
    this.#group = dpGroup;
    this.#reduction = gradReduction;
    this.#accumulationGroups = accumulationGroups;
    this.#trained = module.parameters().filter(({ requiresGrad }) => requiresGrad);
    refuseSecondWrap(this.#trained);
    const plans = planBuckets(
      this.#trained.map(({ numel }) => numel),
      bucketBytes / bytesPerElement('f32'),
    );
    this.#buckets = plans.map((plan, i) => {
      const label = `gradients, bucket ${i + 1} of ${plans.length}`;
      return new GradBucket({ plan, parameters: this.#trained, group: dpGroup, inGroups: accumulationGroups > 1, label });
    });
    for (const bucket of this.#buckets) for (const slot of bucket.slots) this.#homes.set(slot.parameter, { slot, bucket });
    for (const parameter of this.#trained) parameter.synchronizer = this;
  }

  override get isInitialized(): boolean {
    return this.module.isInitialized;
  }

  override initialize(context: InitializationContext): this {
    this.module.initialize(context);
    return this;
  }

  override parameters(): Parameter[] {
    return this.module.parameters();
  }

  override namedParameters(): Map<string, Parameter> {
    return this.module.namedParameters();
  }

  override namedModules(): Map<string, Module> {
    return new Map<string, Module>([...this.module.namedModules(), ['', this]]);
  }

  /** Number of buckets. */
  get numBuckets(): number {
    return this.#buckets.length;
  }

  /**
   * Announces how many microbatches this rank will run before the gradients are used: a bucket is reduced as soon as it has them all.
   * @throws ConfigError INDIVISIBLE, INVALID_OPTION; FINISHED_GRADIENT when there are gradients already
   */
  beginStep(numMicrobatches: number): void {
    if (!Number.isInteger(numMicrobatches) || numMicrobatches < 1)
      throw new ConfigError(
        'INVALID_OPTION',
        `${name}.beginStep: numMicrobatches is ${numMicrobatches}. Use a whole number of at least 1.`,
      );
    if (numMicrobatches % this.#accumulationGroups !== 0)
      throw new ConfigError(
        'INDIVISIBLE',
        `${name}.beginStep: ${numMicrobatches} microbatches do not fall into accumulationGroups ${this.#accumulationGroups} of one `
          + 'size. Use a multiple of it.',
      );
    const early = this.#trained.find(({ grad }) => grad !== undefined);
    if (early !== undefined)
      throw new ConfigError(
        'FINISHED_GRADIENT',
        `${name}.beginStep: parameter "${early.name}" has a gradient already. Call optimizer.step() or zeroGrad() before the next step.`,
      );
    this.#expected = numMicrobatches;
  }

  /** Runs `f` without reducing what its backwards complete: for all but the last microbatch of an own loop. */
  noSync<T>(f: () => T): T {
    const before = this.#holding;
    this.#holding = true;
    try {
      return f();
    } finally {
      this.#holding = before;
    }
  }

  /** The parameter has all of one microbatch. @throws ConfigError FINISHED_GRADIENT, MISSING_OPTION */
  gradReady(parameter: Parameter): void {
    const home = this.#homes.get(parameter);
    if (home === undefined) return;
    const { slot, bucket } = home;
    slot.microbatches++;
    if (slot.isComplete || bucket.isStarted) throw this.#oneTooMany(slot);
    this.#endGroup(slot);
    slot.isComplete = this.#expected === undefined ? !this.#holding : slot.microbatches === this.#expected;
    if (slot.isComplete) bucket.startIfComplete();
  }

  /** The parameter's gradient was dropped: its count starts anew. */
  gradForgotten(parameter: Parameter): void {
    const home = this.#homes.get(parameter);
    home?.bucket.wait();
    home?.slot.reset();
  }

  /** Waits until all gradients are reduced, and finishes them; with `'mean'`, divides. */
  finish(): void {
    this.#settle(1);
  }

  /**
   * Waits until all gradients are reduced, and finishes them.
   * @param options - `numTokens`: tokens of the step over all ranks; `'sum'` divides by it, `'mean'` by data-parallel ranks times
   * microbatches
   */
  finalizeGrads({ numTokens = 1 }: { readonly numTokens?: number } = {}): void {
    this.#settle(1 / Math.max(1, numTokens));
  }

  /** Releases parameters and gradients. */
  override dispose(): void {
    for (const parameter of this.#trained) parameter.synchronizer = undefined;
    for (const bucket of this.#buckets) bucket.dispose();
    this.#homes.clear();
    this.module.dispose();
  }

  #settle(sumScale: number): void {
    if (this.#trained.every(({ isGradFinished, tiedTo }) => isGradFinished || tiedTo !== undefined)) return;
    const numMicrobatches = this.#expected ?? Math.max(1, ...[...this.#homes.values()].map(({ slot }) => slot.microbatches));
    for (const bucket of this.#buckets) bucket.start();
    for (const bucket of this.#buckets) bucket.wait();
    for (const { slot } of this.#homes.values()) slot.reset();
    this.#expected = undefined;
    finalizeGrads(this.#trained, {
      ctx: this.#ctx,
      scale: this.#reduction === 'sum' ? sumScale : 1 / (this.#group.size * numMicrobatches),
    });
  }

  #endGroup(slot: GradSlot): void {
    if (this.#accumulationGroups === 1) return;
    if (this.#expected === undefined)
      throw new ConfigError(
        'MISSING_OPTION',
        `${name}: accumulationGroups ${this.#accumulationGroups} needs the number of microbatches. Call beginStep(numMicrobatches) `
          + 'before the first forward.',
      );
    if (slot.microbatches % (this.#expected / this.#accumulationGroups) === 0) slot.endGroup();
  }

  #oneTooMany({ parameter, microbatches }: GradSlot): ConfigError {
    const said = this.#expected === undefined ? 'after the backward that completed it' : `in a step of ${this.#expected}`;
    return new ConfigError(
      'FINISHED_GRADIENT',
      `${name}: parameter "${parameter.name}" got the gradient of microbatch ${microbatches} ${said}. Call beginStep(n) before the n `
        + 'backwards of a step, or noSync() around all but the last.',
    );
  }
}

const name = 'DistributedDataParallel';

function checkOptions(
  { dpGroup, gradReduction, bucketBytes, accumulationGroups }: Required<DataParallelOptions>,
  ctx: ParallelContext,
): void {
  if (dpGroup.ranks.join() !== ctx.dpCp.ranks.join())
    throw new ConfigError(
      'CONTRADICTION',
      `${name}: dpGroup is ${dpGroup.name} [${dpGroup.ranks.join(', ')}], but the ranks that hold the same parameters are `
        + `[${ctx.dpCp.ranks.join(', ')}]. Give ctx.dp.`,
    );
  if (gradReduction !== 'sum' && gradReduction !== 'mean')
    throw new ConfigError('INVALID_OPTION', `${name}: gradReduction is "${String(gradReduction)}". Use "sum" or "mean".`);
  if (!(bucketBytes > 0)) throw new ConfigError('INVALID_OPTION', `${name}: bucketBytes is ${bucketBytes}. Use a number above 0.`);
  if (!Number.isInteger(accumulationGroups) || accumulationGroups < 1)
    throw new ConfigError('INVALID_OPTION', `${name}: accumulationGroups is ${accumulationGroups}. Use a whole number of at least 1.`);
  if (accumulationGroups > 1 && dpGroup.size > 1)
    throw new ConfigError(
      'CONTRADICTION',
      `${name}: accumulationGroups ${accumulationGroups} stands for data-parallel ranks, and there are ${dpGroup.size} of them. Leave `
        + 'it out.',
    );
}

function refuseSecondWrap(parameters: readonly Parameter[]): void {
  const taken = parameters.find(({ synchronizer }) => synchronizer !== undefined);
  if (taken !== undefined)
    throw new ConfigError(
      'CONTRADICTION',
      `${name}: the gradient of parameter "${taken.name}" is reduced by another wrapper already. Wrap a model once.`,
    );
}
