import type { ParallelContext } from '@megatron-ts/process-groups';
import {
  add,
  type AnyTensor,
  linear,
  type Loss,
  Module,
  Parameter,
  type Shape,
  tanh,
  type Tensor,
  tensor,
  wholeTensor,
} from '@megatron-ts/tensor';

export const hidden = 8;
export const numLayers = 8;
const inputShape = [3, 2, hidden]; // [s, b, h]

const spread = { ...wholeTensor([hidden, hidden]), sharedOver: 'embedding' };

/** x + tanh(linear(x)). */
class Layer extends Module {
  readonly weight = new Parameter({ shape: [hidden, hidden], init: { kind: 'normal', std: 0.3 } });
  readonly bias = new Parameter({ shape: [hidden], init: { kind: 'uniform', low: -0.1, high: 0.1 } });

  override forward(x: Tensor): Tensor {
    return add(x, tanh(linear(x, this.weight, this.bias)));
  }
}

/** Which part of the model a chunk is. */
export interface Part {
  readonly stage: number;
  readonly numStages: number;
  /** Whether the last weight is the first; false by default. */
  readonly tied?: boolean;
}

function square(sharedName: string, meta = wholeTensor([hidden, hidden])): Parameter {
  return new Parameter({ shape: [hidden, hidden], init: { kind: 'normal', std: 0.3 }, sharedName, meta });
}

/** A stage of a stack of layers between two weights, which may be one, as with a tied embedding. */
export class ToyStage extends Module {
  readonly entry: Parameter | undefined;
  readonly layers: Map<number, Layer>;
  readonly exit: Parameter | undefined;

  constructor({ stage, numStages, tied = false }: Part, ctx: ParallelContext) {
    super();
    const isSpread = tied && ctx.pp.size > 1;
    const perStage = numLayers / numStages;
    this.entry = stage > 0 ? undefined : square('entry', isSpread ? spread : undefined);
    this.layers = new Map(Array.from({ length: perStage }, (_, i) => [stage * perStage + i, new Layer()]));
    if (stage === numStages - 1) {
      if (!tied) this.exit = square('exit');
      else this.exit = this.entry?.tie() ?? square('entry', { ...spread, isPrimary: false });
    }
  }

  override forward(x: Tensor): Tensor {
    let y = this.entry === undefined ? x : linear(x, this.entry);
    for (const layer of this.layers.values()) y = layer.call(y);
    return this.exit === undefined ? y : linear(y, this.exit);
  }

  activationShape(shape: Shape): Shape {
    return shape;
  }
}

/** Microbatch `index` of all data. */
export function microbatchOf(index: number): Tensor {
  return tensor(
    Float32Array.from({ length: 6 * hidden }, (_, i) => Math.sin(1.7 * i + 5.3 * index)),
    inputShape,
  );
}

/** Squares of the output, summed over its six tokens. */
export function lossOf(output: AnyTensor): Loss {
  return { sum: (output as Tensor).square().sum(), count: 6 };
}
