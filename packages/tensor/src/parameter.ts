import { ConfigError } from '@megatron-ts/errors';
import { ambient } from './ambient.ts';
import type { DType } from './dtype.ts';
import { engine } from './engine.ts';
import { fillByRule } from './initialize-values.ts';
import { axpy, copyInto, empty } from './ops/in-place.ts';
import { categorize, inCategory, type MemoryCategory } from './memory-category.ts';
import { initializeRemedy } from './initialize-remedy.ts';
import { type InitRule, type ParamMeta, wholeTensor } from './param-meta.ts';
import type { Placement, Replicated } from './placement.ts';
import { dtypeCode } from './dtype.ts';
import { requireShape } from './shape.ts';
import { type AnyTensor, Tensor } from './tensor.ts';

/** A rank's place on a mesh axis. */
export interface AxisPlace {
  /** Ranks on the axis. */
  readonly size: number;
  /** Which of them this is. */
  readonly rank: number;
}

/** What `initialize` needs of the world; a ParallelContext is one. */
export interface InitializationContext {
  /** Seed of all draws. */
  readonly seed: number;
  /** Where parameters live. */
  readonly device: string;
  /** This rank's place on a mesh axis. @throws ConfigError for an axis that does not exist */
  coordinates(axis: string): AxisPlace;
}

/** Options of a parameter. */
export interface ParameterOptions<P extends Placement> {
  /** Shape of the part that this rank holds. */
  readonly shape: readonly number[];
  /** Element type, f32 by default. Gradients are f32 whatever it is. */
  readonly dtype?: DType | undefined;
  /** How it is filled; zeros by default. */
  readonly init?: InitRule;
  /** Where its value lives; replicated by default. */
  readonly placement?: P;
  /** Its place in the whole model; by default every rank holds it whole. */
  readonly meta?: ParamMeta;
  /** Name under which values are drawn and stored instead of the field path: for copies of one parameter. */
  readonly sharedName?: string;
}

/** Memory for a gradient, and whether to add to what it holds. */
export interface GradTarget {
  /** f32 tensor of the parameter's shape. */
  readonly tensor: AnyTensor;
  /** Add when true, overwrite when false. */
  readonly accumulate: boolean;
}

/** Who reduces this parameter's gradient over other ranks; set by data parallelism. */
export interface GradSynchronizer {
  /** The parameter's gradient of one microbatch is complete. */
  gradReady(parameter: Parameter): void;
  /** Waits until all gradients are reduced; nothing to do the second time. */
  finish(): void;
  /** The parameter's gradient was dropped by `zeroGrad`; what was counted of it no longer counts. */
  gradForgotten?(parameter: Parameter): void;
}

/** A tensor that is trained. Constructors describe it; `module.initialize(ctx)` gives it memory and values. */
export class Parameter<in out P extends Placement = Replicated> extends Tensor<P> {
  /** Field path from the model, set by `initialize`. */
  name = '';
  /** Its place in the whole model. */
  readonly meta: ParamMeta;
  /** How it is filled. */
  readonly init: InitRule;
  /** Name under which copies of one parameter are drawn and stored. */
  readonly sharedName: string | undefined;
  /** The parameter whose values this one uses, if its gradient is only kept apart (a tied head). */
  readonly tiedTo: Parameter<P> | undefined;
  /** The mesh it was initialized on. */
  context: InitializationContext | undefined = undefined;
  /** Who reduces its gradient. */
  synchronizer: GradSynchronizer | undefined = undefined;
  /** Whether the gradient has been reduced and divided, so that nothing may be added to it before `zeroGrad`. Set by `finalizeGrads`. */
  isGradFinished = false;
  override readonly asParameter: Parameter = this as unknown as Parameter;
  private values: Tensor<P> | undefined = undefined;
  private gradBuffer: AnyTensor | undefined = undefined;
  private hasGrad = false;
  private borrower: object | undefined = undefined;

  /** @throws ShapeError INVALID_EXTENT, TOO_LARGE */
  constructor({ shape, dtype = 'f32', init = { kind: 'zeros' }, placement, meta, sharedName }: ParameterOptions<P>, tiedTo?: Parameter<P>) {
    requireShape('Parameter', shape);
    super(0, { shape, dtype, placement: placement ?? ('replicated' as P) });
    this.requiresGrad = true;
    this.init = init;
    this.meta = meta ?? wholeTensor(shape);
    this.sharedName = sharedName;
    this.tiedTo = tiedTo;
  }

  /** A second use of this parameter whose gradient is accumulated apart and added once, so that one stage and two give the same bits. */
  tie(): Parameter<P> {
    const { shape, dtype, init, placement, meta } = this;
    return new Parameter<P>({ shape, dtype, init, placement, meta: { ...meta, isPrimary: false } }, this);
  }

  /** The engine's number for the values. @throws ConfigError NOT_INITIALIZED */
  override get handle(): number {
    if (this.tiedTo !== undefined) return this.tiedTo.handle;
    if (this.values === undefined)
      throw new ConfigError(
        'NOT_INITIALIZED',
        `parameter "${this.name}" ${this.dtype}[${this.shape.join(', ')}]: used before initialize. ${initializeRemedy()}`,
      );
    return this.values.handle;
  }

  /** Whether it has memory. */
  get isInitialized(): boolean {
    return this.tiedTo === undefined ? this.values !== undefined : this.tiedTo.isInitialized;
  }

  /** A tape saves a parameter by reference: nothing to own. */
  override retain(): this {
    return this;
  }

  /** A tape saves a parameter by reference: nothing to give up. */
  override release(): void {
    // Its memory belongs to the module, not to scopes or tapes.
  }

  /** Releases values and gradient. */
  override dispose(): void {
    this.values?.release();
    this.gradBuffer?.release();
    this.values = undefined;
    this.gradBuffer = undefined;
    this.borrower = undefined;
    this.hasGrad = false;
    this.isGradFinished = false;
  }

  /** Gives it its name, memory and values. */
  initialize(name: string, context: InitializationContext): void {
    this.name = name;
    this.context = context;
    if (this.isInitialized || this.tiedTo !== undefined) return;
    const { shape, meta, init } = this;
    const values = this.ownMemory(this.dtype, 'parameters');
    const drawn = this.dtype === 'f32' ? values : this.ownMemory('f32', 'parameters');
    fillByRule(drawn.handle, { name: this.sharedName ?? name, shape, meta, init, seed: context.seed });
    if (drawn !== values) {
      copyInto(values, drawn); // drawn in f32 and rounded once
      drawn.release();
    }
    this.values = values;
  }

  /** Memory of this parameter's shape that no scope releases. */
  private ownMemory(dtype: DType, category: MemoryCategory): Tensor<P> {
    const { shape, placement } = this;
    const handle = inCategory(category, () => engine.empty(dtypeCode(dtype), this.numel));
    const memory = new Tensor<P>(handle, { shape, dtype, placement });
    return ambient.scope === undefined ? memory : memory.retain();
  }

  /** Moves the values into memory of the caller's choosing, such as a flat buffer. */
  rebase(values: Tensor<P>): void {
    copyInto(values, this);
    this.values?.release();
    this.values = values.retain();
    categorize(values, 'parameters');
  }

  /** Uses `buffer` (f32, the parameter's shape) for the gradient from now on. */
  useGradBuffer(buffer: AnyTensor): void {
    this.gradBuffer?.release();
    this.gradBuffer = buffer.retain();
    this.borrower = undefined;
    categorize(buffer, 'gradients');
    this.hasGrad = false;
  }

  /**
   * Memory for the next contribution to the gradient. The caller writes or adds to all of it.
   * @throws ConfigError FINISHED_GRADIENT when the gradient has been reduced and is still there
   */
  gradTarget(): GradTarget {
    if (this.isGradFinished)
      throw new ConfigError(
        'FINISHED_GRADIENT',
        `parameter "${this.name}": its gradient of the last step is reduced and still there. Call optimizer.step() or zeroGrad() before the next backward.`,
      );
    this.gradBuffer ??= this.ownMemory('f32', 'gradients');
    const accumulate = this.hasGrad;
    this.hasGrad = true;
    this.borrower = undefined;
    return { tensor: this.gradBuffer, accumulate };
  }

  /**
   * Memory for a contribution that an operation computes before its backward runs: the gradient's own while there is no gradient, else
   * memory beside it. Until the gradient is next written or dropped, nobody else is lent any.
   * @returns undefined when somebody else has borrowed, or when the gradient is finished
   */
  lendGradMemory(borrower: object): AnyTensor | undefined {
    if (this.isGradFinished || this.borrower !== undefined) return undefined;
    this.borrower = borrower;
    if (this.hasGrad) return inCategory('gradients', () => empty(this.shape));
    this.gradBuffer ??= this.ownMemory('f32', 'gradients');
    return this.gradBuffer;
  }

  /** Whether the loan still stands: `gradTarget`, `useGradBuffer` and `zeroGrad` end it. */
  hasLent(borrower: object): boolean {
    return this.borrower === borrower;
  }

  /** The gradient so far, if any. */
  override get grad(): Tensor<P> | undefined {
    return this.hasGrad ? (this.gradBuffer as Tensor<P> | undefined) : undefined;
  }

  /** Adds a gradient made elsewhere. */
  override accumulateGrad(grad: AnyTensor): void {
    const { tensor, accumulate } = this.gradTarget();
    if (accumulate) axpy(tensor, 1, grad);
    else copyInto(tensor, grad);
  }

  /** Forgets the gradient; the next contribution overwrites it. */
  override zeroGrad(): void {
    this.hasGrad = false;
    this.borrower = undefined;
    this.isGradFinished = false;
    this.synchronizer?.gradForgotten?.(this as unknown as Parameter);
  }

  /** Called after the parameter's last use in a microbatch. */
  gradReady(): void {
    if (this.requiresGrad) this.synchronizer?.gradReady(this as unknown as Parameter);
  }
}
