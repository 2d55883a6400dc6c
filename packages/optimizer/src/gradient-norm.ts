import { ConfigError } from '@megatron-ts/errors';
import { allReduce, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, engine, logicalViews, type Parameter, scaleInPlace, scope, Tensor } from '@megatron-ts/tensor';
import { finishGradients } from './finish-gradients.ts';

/** Length of the engine's exact sums: limbs of one wide integer. */
const limbs = 22;

/** Whose gradients are measured together. */
export interface GradientNormOptions {
  /** The mesh; every rank of its `modelParallel` group calls with its parameters. */
  readonly ctx: ParallelContext;
}

/** The same with a limit. */
export interface ClipOptions extends GradientNormOptions {
  /** Largest norm that is left alone. */
  readonly maxNorm: number;
}

/**
 * Euclidean norm of the finished gradients of the whole model. Squares are added exactly, so that the bits depend neither on the order of
 * parameters nor on the layout. Each parameter counts once: the parts of a sharded one, and one copy of a replicated or shared one.
 */
export function globalGradNorm(parameters: readonly Parameter[], { ctx }: GradientNormOptions): number {
  return scope(() => Math.sqrt(engine.resolveSum(sumOfSquares(parameters, ctx).handle)));
}

/** The exact sum of the squares of the finished gradients of the whole model, as limbs (i64). */
export function sumOfSquares(parameters: readonly Parameter[], ctx: ParallelContext): AnyTensor {
  finishGradients(parameters, ctx);
  const counted = parameters.filter((parameter) => countsInNorm(parameter, ctx)).flatMap((parameter) => gradientsOf(parameter, ctx));
  const handles = Uint32Array.from(counted.map(({ handle }) => handle));
  const squares = new Tensor(engine.sumSquares(handles), { shape: [limbs], dtype: 'i64', placement: 'replicated' });
  allReduce(squares, { group: ctx.modelParallel, label: 'gradient norm' }).wait();
  return squares;
}

/**
 * Scales the gradients so that their global norm is at most `maxNorm`.
 * @returns the norm before
 * @throws ConfigError INVALID_OPTION
 */
export function clipGradNorm(parameters: readonly Parameter[], { ctx, maxNorm }: ClipOptions): number {
  requireMaxNorm('clipGradNorm: maxNorm', maxNorm);
  const norm = globalGradNorm(parameters, { ctx });
  const scale = clipScale(norm, maxNorm);
  if (scale < 1) for (const { grad } of parameters) if (grad !== undefined) scaleInPlace(grad, scale);
  return norm;
}

/** Factor that brings a norm down to `maxNorm`; 1 when it is not above. @source Megatron-core, `clip_grads.py` */
export function clipScale(norm: number, maxNorm: number): number {
  return Math.min(1, maxNorm / (norm + 1e-6));
}

/** @throws ConfigError INVALID_OPTION for a limit that is not above 0. */
export function requireMaxNorm(where: string, maxNorm: number): void {
  if (maxNorm > 0) return;
  throw new ConfigError('INVALID_OPTION', `${where} is ${maxNorm}. Use a number above 0.`);
}

/** The gradient, without the rows that another rank counts. */
function gradientsOf({ grad, meta: { logical } }: Parameter, ctx: ParallelContext): AnyTensor[] {
  if (grad === undefined) return [];
  if (logical.every(({ copies = 1 }) => copies === 1)) return [grad];
  const own = logical.filter(({ copies = 1 }) => ctx.tp.rank % copies === 0);
  return own.flatMap((part) => logicalViews(grad, part));
}

function countsInNorm({ meta, tiedTo }: Parameter, ctx: ParallelContext): boolean {
  return meta.isPrimary && tiedTo === undefined && (meta.shardedOver.includes('tp') || ctx.tp.rank === 0);
}
