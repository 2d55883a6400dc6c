// Modules of a user who never heard of placements, and those of one who states them once. This file compiles; it is never run.
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { add, gelu, linear, Module, mul, Parameter, type Sharded, type Tensor, where } from '@megatron-ts/tensor';
import { ColumnParallelLinear, type Residual, RowParallelLinear } from '@megatron-ts/tensor-parallel';
import { LayerNorm, ParallelMLP, TransformerLayer } from '@megatron-ts/transformer';

type SequenceShard = Sharded<'tp', 'sequence'>;

/** No placement is named. */
export class PlainBlock extends Module {
  norm: LayerNorm;
  up: ColumnParallelLinear;
  down: RowParallelLinear;

  constructor(hiddenSize: number, tpGroup: ProcessGroup) {
    super();
    this.norm = new LayerNorm({ hiddenSize });
    this.up = new ColumnParallelLinear({ inputSize: hiddenSize, outputSize: 4 * hiddenSize, tpGroup });
    this.down = new RowParallelLinear({ inputSize: 4 * hiddenSize, outputSize: hiddenSize, tpGroup });
  }

  forward(x: Tensor): Tensor {
    return x.add(this.down.call(this.up.call(this.norm.call(x)).gelu()));
  }
}

/** Sequence parallelism stated by an option; the stream's placement follows. */
export class SequenceBlock extends Module {
  norm: LayerNorm;
  mlp: ParallelMLP<true>;

  constructor(hiddenSize: number, tpGroup: ProcessGroup) {
    super();
    this.norm = new LayerNorm({ hiddenSize, sequenceParallel: true });
    this.mlp = new ParallelMLP({ hiddenSize, tpGroup, sequenceParallel: true });
  }

  forward(x: Tensor<SequenceShard>): Tensor<SequenceShard> {
    return x.add(this.mlp.call(this.norm.call(x)));
  }
}

/** One module for both. */
export class AnyBlock<SP extends boolean = false> extends Module {
  layer: TransformerLayer<SP>;

  constructor({ hiddenSize, tpGroup, sequenceParallel }: { hiddenSize: number; tpGroup: ProcessGroup; sequenceParallel?: SP }) {
    super();
    this.layer = new TransformerLayer<SP>({ hiddenSize, numAttentionHeads: 2, tpGroup, sequenceParallel });
  }

  forward(x: Tensor<Residual<SP>>): Tensor<Residual<SP>> {
    return x.add(this.layer.call(x));
  }
}

/** A forward that keeps the kind of what it is given. */
export class Named extends Module {
  forward<T extends { readonly name: string }>(item: T): T {
    return item;
  }
}

/** Two inputs, of which one may be left out. */
export class Masked extends Module {
  weight = new Parameter({ shape: [4, 4] });

  forward(x: Tensor, mask?: Tensor): Tensor {
    const y = gelu(linear(x, this.weight));
    return mask === undefined ? y : where(mask, y, mul(y, 0));
  }
}

/** Two outputs. */
export class Pair extends Module {
  forward(x: Tensor, y: Tensor): [sum: Tensor, product: Tensor] {
    return [add(x, y), mul(x, y)];
  }
}

declare const x: Tensor;
declare const cut: Tensor<SequenceShard>;
declare const tpGroup: ProcessGroup;

export function calls(): unknown[] {
  const plain: Tensor = new PlainBlock(8, tpGroup).call(x);
  const sequence: Tensor<SequenceShard> = new SequenceBlock(8, tpGroup).call(cut);
  const either: Tensor = new AnyBlock({ hiddenSize: 8, tpGroup }).call(x);
  const other: Tensor<SequenceShard> = new AnyBlock({ hiddenSize: 8, tpGroup, sequenceParallel: true }).call(cut);
  const norm = new LayerNorm({ hiddenSize: 8 });
  const kept: [Tensor, Tensor<SequenceShard>] = [norm.call(x), norm.call(cut)];
  const { weight, name }: { weight: number; name: string } = new Named().call({ name: 'q', weight: 1 });
  const masked: Tensor[] = [new Masked().call(x), new Masked().call(x, x)];
  const [sum, product] = new Pair().call(x, x);
  const whole: Tensor = new ColumnParallelLinear({ inputSize: 8, outputSize: 8, gatherOutput: true, tpGroup }).call(x);
  const scattered: Tensor = new RowParallelLinear({ inputSize: 8, outputSize: 8, inputIsParallel: false, tpGroup }).call(x);
  return [plain, sequence, either, other, ...kept, weight, name, ...masked, sum, product, whole, scattered];
}

export function refusals(): unknown[] {
  return [
    // @ts-expect-error a second output is not a third
    new Pair().call(x, x)[2],
    // @ts-expect-error an input is missing
    new Pair().call(x),
    // @ts-expect-error a mask is a tensor
    new Masked().call(x, 'causal'),
    // @ts-expect-error the bound of a generic forward holds
    new Named().call({ weight: 1 }),
  ];
}
