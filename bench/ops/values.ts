import { type AnyTensor, numel, tensor } from '@megatron-ts/tensor';
import type { OperandDType } from './settings.ts';

/** How values are made. */
export interface ValueOptions {
  /** Factor; 1 by default: values then lie between -1 and 1. */
  readonly scale?: number;
  /** Added after the factor; 0 by default. */
  readonly shift?: number;
  /** Element type; that of the row by default. */
  readonly dtype?: 'f32' | 'bf16';
  /** Whether a turn with backward computes its gradient; true by default. */
  readonly isDifferentiated?: boolean;
}

/** Makes the inputs of one row; each input has other values, which the peer computes alike. */
export class Inputs {
  /** All tensors made, to be given up with the row. */
  readonly all: AnyTensor[] = [];
  private readonly dtype: OperandDType;
  private readonly withBackward: boolean;

  constructor(dtype: OperandDType, withBackward: boolean) {
    this.dtype = dtype;
    this.withBackward = withBackward;
  }

  /** Those whose gradients are wanted. */
  get differentiated(): AnyTensor[] {
    return this.all.filter(({ requiresGrad }) => requiresGrad);
  }

  /** Pseudo-random values. */
  make(shape: readonly number[], { scale = 1, shift = 0, dtype = this.dtype, isDifferentiated = true }: ValueOptions = {}): AnyTensor {
    const seed = this.all.length;
    const values = new Float32Array(numel(shape));
    for (let i = 0; i < values.length; i++) values[i] = (mixed(i, seed) / 2 ** 31 - 1) * scale + shift; // a loop: many millions
    return this.keep(tensor(values, shape, { dtype, requiresGrad: this.withBackward && isDifferentiated }));
  }

  /** Pseudo-random whole numbers from 0 to below `limit`. */
  indices(shape: readonly number[], limit: number): AnyTensor {
    const seed = this.all.length;
    const values = Int32Array.from({ length: numel(shape) }, (_, i) => mixed(i, seed) % limit);
    return this.keep(tensor(values, shape));
  }

  /** These numbers. */
  given(values: readonly number[]): AnyTensor {
    return this.keep(tensor(values));
  }

  /** Holds a tensor as long as the row. */
  keep(made: AnyTensor): AnyTensor {
    this.all.push(made);
    return made;
  }

  /** Gives everything up. */
  dispose(): void {
    for (const made of this.all) {
      made.zeroGrad();
      made.dispose();
    }
  }
}

/** 32 bits of a number and a seed. */
function mixed(i: number, seed: number): number {
  let word = Math.imul(i + 1, 0x9e3779b1) + Math.imul(seed + 1, 0x85ebca77);
  word = Math.imul(word ^ (word >>> 15), 0x2c1b3c6d);
  word = Math.imul(word ^ (word >>> 12), 0x297a2d39);
  return (word ^ (word >>> 15)) >>> 0;
}
