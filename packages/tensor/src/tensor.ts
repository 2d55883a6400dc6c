import { ConfigError, EngineError, ShapeError } from '@megatron-ts/errors';
import { ambient } from './ambient.ts';
import { backward } from './backward.ts';
import { bytesPerElement, type DType } from './dtype.ts';
import { describeTensor } from './inspect.ts';
import type { Node } from './node.ts';
import * as ops from './ops/index.ts';
import type { ReduceOptions } from './ops/reduce.ts';
import type { Parameter } from './parameter.ts';
import type { PartialSum, Placement, Replicated } from './placement.ts';
import { onlyValue, toTypedArray, type TypedArrayOf } from './read.ts';
import { numel } from './shape.ts';
import { releaseHandle, unwatchHandle, watchHandle } from './storage-release.ts';

/** A tensor of any placement, where the library does not care. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- Tensor is invariant in P, so only any stands for all of them
export type AnyTensor = Tensor<any>;

/** A tensor to which non-linear mathematics applies; for a partial sum this is `never`, which the compiler reports by its placement. */
export type NotPartial<P extends Placement> = P extends PartialSum ? Replicated : P;

/** Form of a tensor. */
export interface TensorForm<P extends Placement> {
  /** Extents, outermost first. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
  /** Where the value lives on the mesh. */
  readonly placement: P;
}

const guardKey = Symbol.for('@megatron-ts/core');
const copies = globalThis as { [guardKey]?: string };
if (copies[guardKey] !== undefined && copies[guardKey] !== import.meta.url)
  throw new ConfigError(
    'TWO_COPIES',
    `@megatron-ts/core: loaded twice, from ${copies[guardKey]} and ${import.meta.url}. Keep one copy, for example with npm dedupe.`,
  );
copies[guardKey] = import.meta.url;

/**
 * A dense tensor in native memory. It belongs to the scope in which it was made; `keep` and `dispose` change that.
 * `P` says where its value lives on the mesh and never needs to be named in code that knows no parallelism.
 */
export class Tensor<in out P extends Placement = Replicated> {
  /** Extents, outermost first. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
  /** Where the value lives on the mesh. */
  readonly placement: P;
  /** Whether backward computes a gradient for this tensor. */
  requiresGrad = false;
  /** Node that made this tensor, while it can be differentiated. */
  node: Node | undefined = undefined;
  /** Which output of its node this tensor is. */
  outputIndex = 0;
  /** This tensor as a parameter, if it is one. */
  readonly asParameter: Parameter | undefined = undefined;
  private leafGrad: AnyTensor | undefined = undefined;
  private owners = 1;
  private watched = false;
  private readonly ownHandle: number;

  /** Wraps an engine handle. Use `tensor(data)`, `zeros`, … to make tensors. */
  constructor(handle: number, { shape, dtype, placement }: TensorForm<P>) {
    this.ownHandle = handle;
    this.shape = shape;
    this.dtype = dtype;
    this.placement = placement;
    if (handle !== 0) this.enter();
  }

  private enter(): void {
    if (ambient.scope === undefined) this.watch();
    else ambient.scope.items.push(this as AnyTensor);
  }

  /** The engine's number for the values. @throws EngineError DISPOSED */
  get handle(): number {
    if (!this.isLive)
      throw new EngineError(
        'DISPOSED',
        `tensor ${this.dtype}[${this.shape.join(', ')}]: used after its scope closed or after dispose. Return it from the scope, or keep() it.`,
      );
    return this.ownHandle;
  }

  /** Number of elements. */
  get numel(): number {
    return numel(this.shape);
  }

  /** Bytes of the values. */
  get bytes(): number {
    return this.numel * bytesPerElement(this.dtype);
  }

  /** Whether the values are still there. */
  get isLive(): boolean {
    return this.owners > 0;
  }

  /** Adds an owner. */
  retain(): this {
    void this.handle;
    this.owners++;
    return this;
  }

  /** Removes an owner; the last one releases the memory. */
  release(): void {
    if (--this.owners !== 0) return;
    if (this.watched) unwatchHandle(this);
    releaseHandle(this.ownHandle, this.bytes);
    this.leafGrad?.release();
    this.leafGrad = undefined;
    this.node = undefined;
  }

  /** Leaves the memory to the garbage collector: only for tensors outside every scope. */
  watch(): void {
    if (this.watched) return;
    this.watched = true;
    watchHandle(this, this.ownHandle);
  }

  /** Gives the tensor up now, or takes back a `keep`. */
  dispose(): void {
    if (this.owners > 0) this.release();
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Makes this the output `index` of `node`. */
  attach(node: Node, index: number): void {
    this.node = node;
    this.outputIndex = index;
    this.requiresGrad = true;
  }

  /** Gradient of a leaf (a tensor made with `requiresGrad`), summed over the backwards so far. */
  get grad(): Tensor<P> | undefined {
    return this.leafGrad as Tensor<P> | undefined;
  }

  /** Adds `grad` to the gradient of this leaf. */
  accumulateGrad(grad: AnyTensor): void {
    if (this.leafGrad === undefined) this.leafGrad = grad.retain();
    else {
      const sum = ops.add(this.leafGrad, grad).retain();
      this.leafGrad.release();
      this.leafGrad = sum;
    }
  }

  /** Forgets the gradient. */
  zeroGrad(): void {
    this.leafGrad?.release();
    this.leafGrad = undefined;
  }

  /** Computes the gradients of all leaves below this scalar. @throws ShapeError NOT_A_SCALAR, ConfigError NO_GRADIENT */
  backward(this: Tensor<Replicated>): void {
    if (this.numel !== 1)
      throw new ShapeError(
        'NOT_A_SCALAR',
        `backward: the tensor has shape [${this.shape.join(', ')}]. Reduce it to one number, for example with sum(), or call backward([tensor], [gradient]).`,
      );
    if (!this.requiresGrad)
      throw new ConfigError(
        'NO_GRADIENT',
        'backward: nothing below this tensor asks for a gradient. Make a leaf with requiresGrad: true, and compute outside noGrad and evaluate.',
      );
    backward([this]);
  }

  /** The only value. @throws ShapeError NOT_A_SCALAR */
  item(this: Tensor<Replicated>): number {
    return onlyValue(this);
  }

  /**
   * A copy of the local values: `Float32Array` for f32, bf16 and f16, else the array of the dtype, which the caller names:
   * `tokens.toArray<'i32'>()`.
   */
  toArray<D extends DType = 'f32'>(): TypedArrayOf<D> {
    return toTypedArray(this) as TypedArrayOf<D>;
  }

  /** A tensor of the same values that backward does not follow; shares the memory. */
  detach(): Tensor<P> {
    return ops.alias(this, this.shape);
  }

  /** What `console.log` shows. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return describeTensor(this);
  }

  /** A one-line description. */
  toString(): string {
    return describeTensor(this);
  }

  /** Sum, with broadcasting. */
  add(other: Tensor<P> | number): Tensor<P> {
    return ops.add(this, other);
  }

  /** Difference, with broadcasting. */
  sub(other: Tensor<P> | number): Tensor<P> {
    return ops.sub(this, other);
  }

  /** Product, element by element. */
  mul(other: Tensor<P> | number): Tensor<P> {
    return ops.mul(this, other);
  }

  /** Quotient, element by element. */
  div(other: Tensor<P> | number): Tensor<P> {
    return ops.div(this, other);
  }

  /** Power, element by element. */
  pow(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.pow(this, other);
  }

  /** The larger of two, element by element; NaN wins. */
  maximum(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.maximum(this, other);
  }

  /** The smaller of two, element by element; NaN wins. */
  minimum(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.minimum(this, other);
  }

  /** Negation. */
  neg(): Tensor<P> {
    return ops.neg(this);
  }

  /** Exponential. */
  exp(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.exp(this);
  }

  /** Natural logarithm. */
  log(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.log(this);
  }

  /** Square root. */
  sqrt(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.sqrt(this);
  }

  /** Hyperbolic tangent. */
  tanh(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.tanh(this);
  }

  /** Logistic function. */
  sigmoid(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.sigmoid(this);
  }

  /** Absolute value. */
  abs(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.abs(this);
  }

  /** max(x, 0). */
  relu(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.relu(this);
  }

  /** GELU in its tanh form. @source Hendrycks and Gimpel 2016 */
  gelu(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.gelu(this);
  }

  /** x · sigmoid(x). */
  silu(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.silu(this);
  }

  /** x². */
  square(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.square(this);
  }

  /** 1 / x. */
  reciprocal(this: Tensor<NotPartial<P>>): Tensor<NotPartial<P>> {
    return ops.reciprocal(this);
  }

  /** 1 where this = other, else 0, as u8. */
  eq(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.eq(this, other);
  }

  /** 1 where this ≠ other, else 0, as u8. */
  ne(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.ne(this, other);
  }

  /** 1 where this < other, else 0, as u8. */
  lt(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.lt(this, other);
  }

  /** 1 where this ≤ other, else 0, as u8. */
  le(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.le(this, other);
  }

  /** 1 where this > other, else 0, as u8. */
  gt(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.gt(this, other);
  }

  /** 1 where this ≥ other, else 0, as u8. */
  ge(this: Tensor<NotPartial<P>>, other: Tensor<NotPartial<P>> | number): Tensor<NotPartial<P>> {
    return ops.ge(this, other);
  }

  /** Sum over `dims` (default: all). */
  sum(dims?: number | readonly number[], options?: ReduceOptions): Tensor<P> {
    return ops.sum(this, dims, options);
  }

  /** Mean over `dims` (default: all). */
  mean(dims?: number | readonly number[], options?: ReduceOptions): Tensor<P> {
    return ops.mean(this, dims, options);
  }

  /** Largest over `dims` (default: all); its gradient is shared by equal elements. */
  max(this: Tensor<NotPartial<P>>, dims?: number | readonly number[], options?: ReduceOptions): Tensor<NotPartial<P>> {
    return ops.max(this, dims, options);
  }

  /** Smallest over `dims` (default: all); its gradient is shared by equal elements. */
  min(this: Tensor<NotPartial<P>>, dims?: number | readonly number[], options?: ReduceOptions): Tensor<NotPartial<P>> {
    return ops.min(this, dims, options);
  }

  /** The same values in another shape; one extent may be -1. Shares the memory. */
  reshape(shape: readonly number[]): Tensor<P> {
    return ops.reshape(this, shape);
  }

  /** Two dims exchanged. */
  transpose(dim0: number, dim1: number): Tensor<P> {
    return ops.transpose(this, dim0, dim1);
  }

  /** Dims in another order. */
  permute(order: readonly number[]): Tensor<P> {
    return ops.permute(this, order);
  }

  /** Elements `start` to `end` (exclusive, default: the extent) along `dim`. */
  slice(dim: number, start: number, end?: number): Tensor<P> {
    return ops.slice(this, dim, { start, ...(end === undefined ? {} : { end }) });
  }

  /** Repeated to `shape` by broadcasting. */
  expand(shape: readonly number[]): Tensor<P> {
    return ops.expand(this, shape);
  }

  /** `out[..., i, ...] = this[..., index[..., i, ...], ...]` along `dim`. */
  gather(dim: number, index: Tensor): Tensor<P> {
    return ops.gather(this, dim, index);
  }

  /** Matrix product over the last two dims; the others broadcast. */
  matmul(other: Tensor<P>): Tensor<P> {
    return ops.matmul(this, other);
  }

  /** The values in another dtype. */
  to(dtype: DType): Tensor<P> {
    return ops.to(this, dtype);
  }
}
