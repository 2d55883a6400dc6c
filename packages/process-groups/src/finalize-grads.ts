import { alias, type AnyTensor, copyInto, empty, engine, logicalViews, type Parameter, scaleInPlace, scope } from '@megatron-ts/tensor';
import { allReduce } from './all-reduce.ts';
import type { ParallelContext } from './parallel-context.ts';
import type { ProcessGroup } from './process-group.ts';
import { requireSummedCopies } from './require-summed-copies.ts';

/** How gradients are finished. */
export interface FinalizeOptions {
  /** The mesh. */
  readonly ctx: ParallelContext;
  /** Factor on every gradient, such as one over the global number of tokens; 1 by default. */
  readonly scale?: number;
}

/**
 * Finishes gradients that data parallelism has summed: adds those of copies in other roles (a tied head), sums those that are
 * partial over an axis or of rows that several ranks hold, and scales. All ranks of
 * the mesh call it with their parameters; a gradient that is finished already is left alone.
 * @throws ConfigError UNREDUCED_PARAMETER for a part that several tensor-parallel ranks hold, where its meta does not say so
 * @source Megatron-core, finalize_model_grads: norm gradients before embedding gradients before the token count
 */
export function finalizeGrads(parameters: readonly Parameter[], { ctx, scale = 1 }: FinalizeOptions): void {
  const open = parameters.filter(({ isGradFinished }) => !isGradFinished);
  requireSummedCopies(open, ctx.tp.size);
  scope(() => {
    for (const axis of axesOf(open))
      sumOver(
        ctx.group(axis),
        open.filter(({ meta }) => meta.gradPartialOver.includes(axis)),
        axis,
      );
    sumCopies(open, ctx);
    addTied(open);
    sumShared(open, ctx);
    for (const parameter of open) {
      if (parameter.tiedTo !== undefined) continue;
      if (scale !== 1 && parameter.grad !== undefined) scaleInPlace(parameter.grad, scale);
      parameter.isGradFinished = true;
    }
  });
}

function axesOf(parameters: readonly Parameter[]): string[] {
  return [...new Set(parameters.flatMap(({ meta }) => meta.gradPartialOver))].sort();
}

/** Rows that some tensor-parallel ranks hold in common: one all-reduce over exactly those, for all parameters together. */
function sumCopies(parameters: readonly Parameter[], ctx: ParallelContext): void {
  const byCopies = new Map<number, AnyTensor[]>();
  for (const { grad, meta } of parameters)
    for (const logical of meta.logical) {
      const { copies = 1 } = logical;
      if (copies === 1 || grad === undefined) continue;
      byCopies.set(copies, [...(byCopies.get(copies) ?? []), ...logicalViews(grad as AnyTensor, logical)]);
    }
  for (const [copies, views] of [...byCopies].sort(([a], [b]) => a - b)) {
    const flat = empty([views.reduce((sum, { numel }) => sum + numel, 0)]);
    let offset = 0;
    const parts = views.map(({ shape, numel }) => alias(flat, shape, (offset += numel) - numel));
    views.forEach((view, i) => copyInto(parts[i] as AnyTensor, view));
    allReduce(flat, { group: ctx.neighbours(copies), label: 'gradients: copied rows' }).wait();
    views.forEach((view, i) => copyInto(view, parts[i] as AnyTensor));
  }
}

/** A second use on the same rank: its gradient was accumulated apart and is added once. */
function addTied(parameters: readonly Parameter[]): void {
  for (const parameter of parameters) {
    if (parameter.tiedTo === undefined || parameter.grad === undefined) continue;
    parameter.tiedTo.accumulateGrad(parameter.grad);
    parameter.zeroGrad();
  }
}

/** Copies in other roles stand elsewhere in each rank's list; by the names of group and copy all ranks meet in one order. */
function sumShared(parameters: readonly Parameter[], ctx: ParallelContext): void {
  const shared = parameters.flatMap((parameter) => {
    const { meta, tiedTo, sharedName: name = parameter.name } = parameter;
    return meta.sharedOver === undefined || tiedTo !== undefined ? [] : [{ parameter, over: meta.sharedOver, name }];
  });
  const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
  shared.sort((a, b) => order(a.over, b.over) || order(a.name, b.name));
  for (const { parameter, over, name } of shared) sumOver(ctx.group(over), [parameter], name);
}

/** One all-reduce over the gradients of several parameters, packed into one tensor. A missing gradient counts as zero. */
function sumOver(group: ProcessGroup, parameters: readonly Parameter[], label: string): void {
  if (group.size === 1 || parameters.length === 0) return;
  const flat = empty([parameters.reduce((sum, parameter) => sum + parameter.numel, 0)]);
  const parts: AnyTensor[] = [];
  let offset = 0;
  for (const parameter of parameters) {
    const part = alias(flat, parameter.shape, offset);
    offset += parameter.numel;
    if (parameter.grad === undefined) engine.fill(part.handle, 0);
    else engine.copyInto(part.handle, parameter.grad.handle);
    parts.push(part);
  }
  allReduce(flat, { group, label: `gradients: ${label}` }).wait();
  parameters.forEach((parameter, i) => {
    parameter.zeroGrad();
    parameter.accumulateGrad(parts[i] as AnyTensor);
  });
}
