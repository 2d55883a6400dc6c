// Sharding mistakes that must not compile. Each comment names the placement that was given and the one that was wanted; placements.test.ts
// compiles this file without the comments and looks for both names in the first line of each message. It is never run.
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { linear, type Parameter, type Sharded, type Tensor } from '@megatron-ts/tensor';
import { ColumnParallelLinear, reduceFromTensorParallelRegion, RowParallelLinear } from '@megatron-ts/tensor-parallel';
import { LayerNorm } from '@megatron-ts/transformer';
import { SequenceBlock } from './user-modules.ts';

declare const x: Tensor;
declare const cut: Tensor<Sharded<'tp', 'sequence'>>;
declare const weight: Parameter<Sharded<'tp', 'hidden'>>;
declare const bias: Parameter;
declare const tpGroup: ProcessGroup;

export function mistakes(): void {
  const up = new ColumnParallelLinear({ inputSize: 8, outputSize: 32, tpGroup });
  const down = new RowParallelLinear({ inputSize: 32, outputSize: 8, tpGroup });
  const sequenceUp = new ColumnParallelLinear({ inputSize: 8, outputSize: 32, sequenceParallel: true, tpGroup });
  const norm = new LayerNorm({ hiddenSize: 8 });
  const summand = linear(up.call(x), weight);

  // @ts-expect-error a shard added to the whole: "hidden sharded over tp" for "replicated"
  x.add(up.call(x));
  // @ts-expect-error a row-parallel layer reads shards: "replicated" for "hidden sharded over tp"
  down.call(x);
  // @ts-expect-error cut along another dim: "sequence sharded over tp" for "hidden sharded over tp"
  down.call(cut);
  // @ts-expect-error a bias added before the sum is added by every rank: "replicated" for "partial sum over tp"
  summand.add(bias);
  // @ts-expect-error a function of a summand is no summand of the function: "partial sum over tp" for "replicated"
  summand.gelu();
  // @ts-expect-error the norm of a summand: "partial sum over tp" for "Whole"
  norm.call(summand);
  // @ts-expect-error summed twice: "replicated" for "partial sum over tp"
  reduceFromTensorParallelRegion(x, tpGroup);
  // @ts-expect-error a shard read as if it were the whole: "hidden sharded over tp" for "replicated"
  up.call(x).item();
  // @ts-expect-error backward from a summand of the loss: "partial sum over tp" for "replicated"
  summand.backward();
  // @ts-expect-error a whole stream in a sequence-parallel block: "replicated" for "sequence sharded over tp"
  new SequenceBlock(8, tpGroup).call(x);
  // @ts-expect-error a whole stream in a sequence-parallel layer: "replicated" for "sequence sharded over tp"
  sequenceUp.call(x);
}
