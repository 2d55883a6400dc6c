import { type GPTModel, initializeModelParallel, type ParallelContext, type Sharded, type Tensor, tensor } from '@megatron-ts/core';
import { oneForwardOneBackward } from '@megatron-ts/core/schedule';
import { expectBitwise, expectClose } from '@megatron-ts/core/testing';
import { exportOnnx } from '@megatron-ts/onnx';

export const x: Tensor = tensor(Float32Array.of(1), [1]);
export const schedule = oneForwardOneBackward({ numStages: 2, numMicrobatches: 4 });
expectBitwise(x, x);
expectClose(x, [1], { atol: 1e-6, because: 'the test says so' });

export function wrong(shard: Tensor<Sharded<'tp', 'hidden'>>): void {
  // @ts-expect-error a shard is not whole
  x.add(shard);
}

export const ctx = initializeModelParallel({ seed: 1 });

export function write(model: GPTModel<true>, context: ParallelContext): void {
  exportOnnx(model, 'model.onnx', { ctx: context, externalDataAbove: 0 });
}
