import { finalizeGrads, type GroupCounts, initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, backward, type LogicalTensor, type Module, scope, tensor } from '@megatron-ts/tensor';

/** Values of one parameter on one rank, or of its gradient. */
export interface Stored {
  readonly name: string;
  readonly shape: readonly number[];
  readonly logical: readonly LogicalTensor[];
  readonly values: Float32Array;
}

/** What a module did with one input. */
export interface Observed {
  readonly output: Float32Array;
  readonly inputGrad: Float32Array;
  readonly weights: Stored[];
  readonly grads: Stored[];
  /** Collectives of the tensor-parallel group. */
  readonly forward: GroupCounts;
  readonly backward: GroupCounts;
}

/** The same module on the mesh and on this rank alone. */
export interface Both {
  readonly sharded: Observed;
  readonly whole: Observed;
}

/** Numbers without a pattern that a mistake could hide behind. */
export function numbers(count: number, seed = 1): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed) * 0.9);
}

/** Runs `f` on a mesh of `tensorModelParallelSize` ranks, and with a mesh of this rank alone. */
export async function onBothMeshes<T>(tensorModelParallelSize: number, f: (ctx: ParallelContext, alone: ParallelContext) => T): Promise<T> {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize });
  await using alone = await initializeModelParallel({ ranks: [ctx.world.ranks[ctx.world.rank] ?? 0] });
  return f(ctx, alone);
}

/** How a module is run. */
export interface Run {
  /** Shape of the whole input. */
  readonly shape: readonly number[];
  /** This rank's part of the whole input, and of the output's gradient; all of it by default. */
  readonly part?: (whole: AnyTensor) => AnyTensor;
  /** The same for the output's gradient. */
  readonly outputPart?: (whole: AnyTensor) => AnyTensor;
  /** Features of the whole output; those of the input by default. */
  readonly outputSize?: number;
  /** Shape of the whole output; that of the input, but for its features, by default. */
  readonly outputShape?: readonly number[];
}

interface OneInput {
  call(x: AnyTensor): AnyTensor;
}

/** One forward, and one backward from an arbitrary gradient of the output. */
export function observe(module: Module, ctx: ParallelContext, run: Run): Observed {
  const { shape, part = (x) => x, outputPart = part, outputSize = shape.at(-1) ?? 1 } = run;
  module.initialize(ctx);
  fillVectors(module);
  const count = (extents: readonly number[]) => extents.reduce((product, extent) => product * extent, 1);
  return scope(() => {
    const x = part(tensor(numbers(count(shape)), shape)).detach();
    x.requiresGrad = true;
    ctx.tp.resetCounts();
    const y = (module as unknown as OneInput).call(x);
    const forward = ctx.tp.counts();
    const outputShape = run.outputShape ?? [...shape.slice(0, -1), outputSize];
    const seed = outputPart(tensor(numbers(count(outputShape), 2), outputShape));
    ctx.tp.resetCounts();
    backward([y], [seed]);
    const back = ctx.tp.counts();
    finalizeGrads(module.parameters(), { ctx });
    const output = Float32Array.from(y.toArray() as Float32Array);
    const [weights, grads] = [stored(module, (p) => p), stored(module, (p) => p.grad)];
    return { output, inputGrad: valuesOf(x.grad), weights, grads, forward, backward: back };
  });
}

/** Biases begin at zero, where a wrong one would not show. */
function fillVectors(module: Module): void {
  for (const parameter of module.parameters()) {
    const { shape, logical } = { shape: parameter.shape, logical: parameter.meta.logical };
    if (shape.length !== 1) continue;
    const values = new Float32Array(shape[0] ?? 0);
    for (const [part, { globalShape, rectangles }] of logical.entries())
      for (const { globalOffset, localOffset, extent } of rectangles)
        values.set(
          numbers(globalShape[0] ?? 0, part + 3)
            .slice(globalOffset[0])
            .subarray(0, extent[0]),
          localOffset[0],
        );
    scope(() => parameter.rebase(tensor(values, shape) as AnyTensor));
  }
}

/** What a module holds, as `wholeTensors` puts it together. A second use of a parameter holds nothing of its own. */
export function stored(module: Module, pick: (parameter: AnyTensor) => AnyTensor | undefined): Stored[] {
  return module
    .parameters()
    .filter(({ tiedTo }) => tiedTo === undefined)
    .map((parameter) => ({
      name: parameter.sharedName ?? parameter.name,
      shape: parameter.shape,
      logical: parameter.meta.logical,
      values: valuesOf(pick(parameter)),
    }));
}

function valuesOf(x: AnyTensor | undefined): Float32Array {
  return x === undefined ? new Float32Array(0) : (x.toArray() as Float32Array);
}
