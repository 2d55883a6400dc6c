import { ConfigError, DTypeError } from '@megatron-ts/errors';
import type { ParallelContext } from '@megatron-ts/process-groups';
import { ambient, type AnyTensor, copyInto, engine, type Parameter, scope, tensor } from '@megatron-ts/tensor';
import { contextOf } from './context-of.ts';
import { DeviceUpdate, hyperLength } from './device-update.ts';
import { FlatGroup, keptZeros } from './flat-group.ts';
import { clipScale, globalGradNorm, requireMaxNorm, sumOfSquares } from './gradient-norm.ts';
import { constant, type LearningRateSchedule, requireRate } from './learning-rate.ts';

/** Settings of Adam. */
export interface AdamOptions {
  /** Learning rate, or its schedule. */
  readonly lr: number | LearningRateSchedule;
  /** Decay of the running means of gradients and of their squares; 0.9 and 0.999 by default. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the corrected second moment; 1e-8 by default. */
  readonly eps?: number;
  /** Weight decay; 0.01 by default. */
  readonly weightDecay?: number;
  /** AdamW: weights shrink by `lr · weightDecay` (default). Otherwise `weightDecay · weight` is added to the gradient. */
  readonly decoupledWeightDecay?: boolean;
  /** Global norm to which gradients are clipped; no clipping when left out. */
  readonly clipGradNorm?: number;
  /** Which parameters do not decay; by default those of one dim and those whose name ends in `.bias`. */
  readonly noDecay?: (parameter: Parameter) => boolean;
}

/**
 * What a step did. On a device it is not known yet when the step returns: whoever looks at it waits for the device. The result of a step
 * that is captured tells of its latest launch.
 */
export interface StepResult {
  /** Global norm of the gradients before clipping. */
  readonly gradNorm: number;
  /** Whether the update was left out because the norm is not finite. */
  readonly skipped: boolean;
  /** Learning rate of the update, or of the one that was left out. */
  readonly lr: number;
}

/** Parameters of one dtype with one weight decay, and the numbers that the kernel reads for them. */
interface Group {
  readonly weightDecay: number;
  readonly flat: FlatGroup;
  readonly hyper: AnyTensor;
}

type Settings = Required<Omit<AdamOptions, 'lr' | 'clipGradNorm' | 'noDecay'>> & { readonly clipGradNorm: number | undefined };

/**
 * Adam with bias correction and, by default, decoupled weight decay. bf16 parameters are updated by way of main weights in f32, so that
 * small steps add up; each update rounds them into the model in the same pass.
 * @source Kingma and Ba, Adam (ICLR 2015); Loshchilov and Hutter, AdamW (ICLR 2019)
 */
export class Adam {
  private readonly parameters: readonly Parameter[];
  private readonly ctx: ParallelContext;
  private readonly settings: Settings;
  private readonly schedule: LearningRateSchedule;
  private readonly groups: readonly Group[];
  private readonly deviceUpdate: DeviceUpdate | undefined;
  private updates = 0;

  /**
   * Lays values, gradients and moments of the parameters that decay alike flat, so that an update is one pass over four buffers, or five
   * for bf16 parameters. Main weights begin as the values that the parameters have now: load what is to be loaded before.
   * @param parameters - initialized, and wrapped in DistributedDataParallel before where data parallelism replicates them
   * @throws ConfigError INVALID_OPTION, NOT_INITIALIZED, INVALID_CONTEXT, DUPLICATE_NAME, UNREDUCED_PARAMETER;
   * DTypeError UNSUPPORTED_DTYPE for parameters that are neither f32 nor bf16
   */
  constructor(parameters: readonly Parameter[], options: AdamOptions) {
    const {
      lr,
      betas = [0.9, 0.999],
      eps = 1e-8,
      weightDecay = 0.01,
      decoupledWeightDecay = true,
      clipGradNorm,
      noDecay = isExempt,
    } = options;
    this.settings = { betas, eps, weightDecay, decoupledWeightDecay, clipGradNorm };
    checkSettings(this.settings);
    if (typeof lr === 'number') requireRate('Adam', 'lr', lr);
    this.schedule = typeof lr === 'number' ? constant(lr) : lr;
    this.parameters = parameters;
    this.ctx = contextOf('Adam', parameters);
    checkParameters(parameters, this.ctx);
    const owned = parameters.filter(({ requiresGrad, tiedTo }) => requiresGrad && tiedTo === undefined);
    const groups = groupsOf(owned, (parameter) => (noDecay(parameter) ? 0 : weightDecay));
    this.deviceUpdate = this.ctx.device === 'cpu' ? undefined : this.updateThere(groups);
    this.groups = groups.map((group, i) => ({ ...group, hyper: this.deviceUpdate?.hyperOf(i) ?? keptZeros([hyperLength], 'optimizer') }));
  }

  /** Clips and chooses the numbers of an update where the gradients are, so that nobody waits for their norm. */
  private updateThere(groups: readonly Omit<Group, 'hyper'>[]): DeviceUpdate {
    const numbersOf = (updates: number) => {
      const lr = this.schedule(updates);
      return groups.map(({ weightDecay }) => this.hyperValues({ lr, gradScale: 1, weightDecay, updates: updates + 1 }));
    };
    const { clipGradNorm: maxNorm = Number.POSITIVE_INFINITY } = this.settings;
    const { schedule } = this;
    return new DeviceUpdate({ groups: groups.length, maxNorm, numbersOf, schedule, onSkip: (norm, step) => this.warnOfSkip(norm, step) });
  }

  /**
   * Finishes the gradients, measures and clips them, updates the parameters and forgets the gradients. Gradients whose norm is not
   * finite change nothing. Every rank of the mesh calls it.
   */
  step(): StepResult {
    const { deviceUpdate } = this;
    if (deviceUpdate !== undefined)
      return scope(() => {
        const result = deviceUpdate.step(sumOfSquares(this.parameters, this.ctx), () => this.run());
        this.zeroGrad();
        return result;
      });
    const gradNorm = globalGradNorm(this.parameters, { ctx: this.ctx });
    const skipped = !Number.isFinite(gradNorm);
    const lr = this.schedule(this.updates);
    if (skipped) this.warnOfSkip(gradNorm, ambient.step);
    else this.update(lr, this.settings.clipGradNorm === undefined ? 1 : clipScale(gradNorm, this.settings.clipGradNorm));
    this.zeroGrad();
    return { gradNorm, skipped, lr };
  }

  /** Forgets the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters) parameter.zeroGrad();
  }

  /** Releases the moments; parameters keep their values and gradients. */
  dispose(): void {
    for (const { flat, hyper } of this.groups) {
      flat.dispose();
      hyper.dispose();
    }
    this.deviceUpdate?.dispose();
  }

  private update(lr: number, gradScale: number): void {
    const updates = ++this.updates;
    scope(() => {
      for (const { weightDecay, hyper } of this.groups) copyInto(hyper, tensor(this.hyperValues({ lr, gradScale, weightDecay, updates })));
    });
    this.run();
  }

  /** Updates all parameters by the numbers that lie in memory. */
  private run(): void {
    const runs = this.groups.flatMap(({ flat, hyper }) => flat.runs().map((run) => ({ ...run, hyper: hyper.handle })));
    engine.adamW(
      Uint32Array.from(runs.flatMap(({ handles }) => handles)),
      Uint32Array.from(runs, ({ hyper }) => hyper),
      Uint32Array.from(runs, ({ model }) => model),
    );
  }

  /** What the kernel reads from memory. Bias corrections use the betas as f32 holds them: those the kernel computes with. */
  private hyperValues({
    lr,
    gradScale,
    weightDecay,
    updates,
  }: {
    readonly lr: number;
    readonly gradScale: number;
    readonly weightDecay: number;
    readonly updates: number;
  }): Float32Array {
    const { betas, eps, decoupledWeightDecay } = this.settings;
    const [correction1, correction2] = betas.map((beta) => 1 - Math.fround(beta) ** updates) as [number, number];
    return Float32Array.of(lr, ...betas, eps, weightDecay, correction1, correction2, gradScale, decoupledWeightDecay ? 1 : 0);
  }

  private warnOfSkip(gradNorm: number, number: number | undefined): void {
    if (this.ctx.world.rank !== 0) return;
    const step = number === undefined ? '' : `step ${number}: `;
    process.stderr.write(
      `Adam: ${step}the gradient norm is ${gradNorm}, so this update is skipped. Look at the loss, or lower the learning rate.\n`,
    );
  }
}

/** A group for each weight decay and dtype, in the order of their first parameters. */
function groupsOf(parameters: readonly Parameter[], decayOf: (parameter: Parameter) => number): Omit<Group, 'hyper'>[] {
  const groups = new Map<string, { readonly weightDecay: number; readonly members: Parameter[] }>();
  for (const parameter of parameters) {
    const weightDecay = decayOf(parameter);
    const key = `${weightDecay} ${parameter.dtype}`;
    const group = groups.get(key) ?? { weightDecay, members: [] };
    groups.set(key, group);
    group.members.push(parameter);
  }
  return [...groups.values()].map(({ weightDecay, members }) => ({ weightDecay, flat: new FlatGroup(members) }));
}

/** Biases and norms: their size is not what weight decay is meant to limit. */
function isExempt({ shape, name }: Parameter): boolean {
  return shape.length === 1 || name.endsWith('.bias');
}

function checkSettings({ betas, eps, weightDecay, clipGradNorm }: Settings): void {
  for (const beta of betas)
    if (!(beta >= 0 && beta < 1))
      throw new ConfigError('INVALID_OPTION', `Adam: betas are ${betas.join(' and ')}. Use numbers from 0 to below 1.`);
  if (!(eps > 0)) throw new ConfigError('INVALID_OPTION', `Adam: eps is ${eps}. Use a number above 0.`);
  requireRate('Adam', 'weightDecay', weightDecay);
  if (clipGradNorm !== undefined) requireMaxNorm('Adam: clipGradNorm', clipGradNorm);
}

function checkParameters(parameters: readonly Parameter[], ctx: ParallelContext): void {
  const seen = new Set<Parameter>();
  for (const parameter of parameters) {
    if (seen.has(parameter))
      throw new ConfigError('DUPLICATE_NAME', `Adam: parameter "${parameter.name}" is in the list twice. Give each parameter once.`);
    seen.add(parameter);
    if (parameter.dtype !== 'f32' && parameter.dtype !== 'bf16')
      throw new DTypeError(
        'UNSUPPORTED_DTYPE',
        `Adam: parameter "${parameter.name}" is ${parameter.dtype}, not f32 or bf16. Give it one of these dtypes.`,
      );
    if (ctx.dpCp.size > 1 && parameter.synchronizer === undefined && parameter.requiresGrad)
      throw new ConfigError(
        'UNREDUCED_PARAMETER',
        `Adam: parameter "${parameter.name}" is replicated over ${ctx.dpCp.size} data-parallel ranks, and nobody sums its gradient. `
          + 'Wrap the model in DistributedDataParallel first.',
      );
  }
}
