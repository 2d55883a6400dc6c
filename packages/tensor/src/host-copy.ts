import { EngineError, ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from './check-mode.ts';
import { dtypeCode } from './dtype.ts';
import { engine } from './engine.ts';
import { refusePartial } from './placements/index.ts';
import { arrayFor, type TypedArrayOf } from './read.ts';
import type { DType } from './dtype.ts';
import { formatShape } from './shape.ts';
import type { AnyTensor, Tensor } from './tensor.ts';
import { where } from './where-in-model.ts';

/** Ends copies that nobody has read and nobody can read any more. */
const unread = new FinalizationRegistry<number>((copy) => engine.dropCopy(copy));

/**
 * The values of a tensor on their way to the host. A step later they have arrived, and reading them keeps nobody waiting; on the CPU they
 * are there at once.
 */
export class HostCopy {
  private readonly copy: number;
  private readonly dtype: DType;
  private readonly shape: readonly number[];
  private readonly numel: number;
  private values: TypedArrayOf<DType> | undefined = undefined;

  /** Use `copyToHost`. `tells` says whether it brings with it what kernels refused so far. */
  constructor(tensor: AnyTensor, tells: boolean) {
    const isNarrow = tensor.dtype === 'bf16' || tensor.dtype === 'f16';
    this.dtype = isNarrow ? 'f32' : tensor.dtype;
    this.shape = tensor.shape;
    this.numel = tensor.numel;
    const handle = isNarrow ? engine.cast(tensor.handle, dtypeCode('f32')) : tensor.handle;
    try {
      this.copy = engine.copyToHost(handle, tells);
    } finally {
      if (isNarrow) engine.release(handle);
    }
    unread.register(this, this.copy, this);
  }

  /** Whether reading would wait for nothing. */
  get isReady(): boolean {
    return this.values !== undefined || engine.isCopied(this.copy);
  }

  /** The values, as `tensor.toArray()` would have given them when the copy was asked for. */
  toArray<D extends DType = 'f32'>(): TypedArrayOf<D> {
    if (this.values === undefined) {
      const values = arrayFor(this.dtype, this.numel);
      unread.unregister(this);
      engine.readCopy(this.copy, new Uint8Array(values.buffer));
      this.values = values;
    }
    return this.values as TypedArrayOf<D>;
  }

  /** The only value. @throws ShapeError NOT_A_SCALAR */
  item(): number {
    if (this.numel !== 1)
      throw new ShapeError('NOT_A_SCALAR', `item: the copy has shape ${formatShape(this.shape)}. Copy one number, or use toArray().`);
    const [value] = this.toArray();
    if (value === undefined) throw new EngineError('DISPOSED', 'item: the copy could not be read the first time. Copy the tensor again.');
    return Number(value);
  }
}

/**
 * A copy of the values to the host for which nobody waits: read it a step later, as to print the loss of the step before. What is written
 * to the tensor afterwards is not in it. Not inside a step that is captured: copy what the step returns.
 */
export function copyToHost(tensor: Tensor): HostCopy {
  if (checksPlacements()) refusePartial(where('copyToHost'), tensor);
  return new HostCopy(tensor, true);
}
