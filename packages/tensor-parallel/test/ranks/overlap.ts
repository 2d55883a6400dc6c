import { type ChromeTrace, initializeModelParallel, type ParallelContext, traced } from '@megatron-ts/process-groups';
import { type AnyTensor, backward, linear, scope, Tape, tensor, to } from '@megatron-ts/tensor';
import { ColumnParallelLinear, tensorParallelRegion } from '@megatron-ts/tensor-parallel';
import { numbers } from './observe.ts';

/** What a column-parallel layer did, fused with its mapping or not. */
export interface ColumnRun {
  /** Output, gradients of input, weight and bias. */
  readonly values: Float32Array[];
  /** The backward. */
  readonly trace: ChromeTrace;
}

/** How a layer is run. */
export interface ColumnSetting {
  readonly sequenceParallel: boolean;
  readonly paramDType: 'f32' | 'bf16';
  readonly deferred: boolean;
}

/** All settings. */
export const columnSettings: readonly ColumnSetting[] = [false, true].flatMap((sequenceParallel) =>
  (['f32', 'bf16'] as const).flatMap((paramDType) => [false, true].map((deferred) => ({ sequenceParallel, paramDType, deferred }))),
);

/** The layer, and the mapping and the product one after the other, with every setting. */
export async function columnRuns(): Promise<{ readonly fused: ColumnRun; readonly apart: ColumnRun }[]> {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2 });
  return columnSettings.map((setting) => ({ fused: run(ctx, setting, true), apart: run(ctx, setting, false) }));
}

function run(ctx: ParallelContext, { sequenceParallel, paramDType, deferred }: ColumnSetting, isFused: boolean): ColumnRun {
  const layer = new ColumnParallelLinear<boolean>({ inputSize: 16, outputSize: 12, tpGroup: ctx.tp, sequenceParallel, paramDType });
  layer.initialize(ctx);
  const { enter } = tensorParallelRegion<boolean>(ctx.tp, sequenceParallel);
  const apart = (x: AnyTensor): AnyTensor => linear(enter(x), layer.weight as AnyTensor, layer.bias);
  return scope(() => {
    const x: AnyTensor = to(tensor(numbers(4 * 3 * 16, sequenceParallel ? ctx.tp.rank + 1 : 1), [4, 3, 16]), paramDType);
    x.requiresGrad = true;
    const tape = new Tape();
    tape.deferWeightGradients = deferred;
    const y = tape.run(() => (isFused ? layer.call(x) : apart(x)));
    const grad = to(tensor(numbers(y.numel, 7), y.shape), paramDType);
    const { trace } = traced(ctx, () => {
      backward([y], [grad]);
      tape.runWeightGradients();
    });
    tape.dispose();
    const found = [y, x.grad, layer.weight.grad, layer.bias?.grad].map((value) => (value as AnyTensor).toArray() as Float32Array);
    return { values: found, trace };
  });
}
