import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { computeCode, type ComputeOptions } from '../compute-dtype.ts';
import { engine } from '../engine.ts';
import { layoutWords } from '../layout-words.ts';
import { record } from '../node.ts';
import type { Placement } from '../placement.ts';
import { contracted, place, placed } from '../placements/index.ts';
import { result } from '../result.ts';
import { broadcastShape, extentOf, formatShape, numel, sameShape, type Shape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { sumToShape } from './binary.ts';
import { requireStreams } from './operands.ts';
import { expand } from './view.ts';

interface Product {
  readonly a: AnyTensor;
  readonly b: AnyTensor;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly options: ComputeOptions;
}

const batchOf = (tensor: AnyTensor): Shape => tensor.shape.slice(0, -2);

/** a · b over the last two dims, each read transposed if asked; batches of one operand repeat. */
function product({ a, b, transposeA = false, transposeB = false, options }: Product): AnyTensor {
  const [m, k] = transposeA ? [a.shape.length - 1, a.shape.length - 2] : [a.shape.length - 2, a.shape.length - 1];
  const [k2, n] = transposeB ? [b.shape.length - 1, b.shape.length - 2] : [b.shape.length - 2, b.shape.length - 1];
  const [rows, inner, cols] = [extentOf(a.shape, m), extentOf(a.shape, k), extentOf(b.shape, n)];
  if (inner !== extentOf(b.shape, k2))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('matmul')}: ${formatShape(a.shape)} times ${formatShape(b.shape)} has inner extents ${inner} and ${extentOf(b.shape, k2)}. Transpose or reshape one of them.`,
    );
  const batch = broadcastShape('matmul', batchOf(a), batchOf(b));
  const [left, right] = [repeated(a, batch), repeated(b, batch)];
  const strides = [numel(batchOf(left)) === 1 ? 0 : rows * inner, numel(batchOf(right)) === 1 ? 0 : inner * cols];
  const layout = layoutWords('matmul', [numel(batch), rows, cols, inner, ...strides, transposeA ? 1 : 0, transposeB ? 1 : 0]);
  const y: AnyTensor = result('matmul', engine.matmul(left.handle, right.handle, layout, computeCode('matmul', a.dtype, options)), {
    shape: [...batch, rows, cols],
    dtype: a.dtype,
    placement: a.placement as Placement,
  });
  if (!checksPlacements()) return y;
  const outer = batch.map((_, dim) => `batch ${dim}`);
  const own = (x: AnyTensor, last: readonly string[]) => ({
    operand: placed(x),
    labels: [...outer.slice(outer.length - x.shape.length + 2), ...last],
  });
  const operands = [own(a, transposeA ? ['k', 'm'] : ['m', 'k']), own(b, transposeB ? ['n', 'k'] : ['k', 'n'])] as const;
  return place(y, contracted('matmul', operands, { shape: y.shape, labels: [...outer, 'm', 'n'] }).layout);
}

/** One batch of all, or one matrix for all of them; what lies between is copied. */
function repeated(x: AnyTensor, batch: Shape): AnyTensor {
  const own = batchOf(x);
  return sameShape(own, batch) || numel(own) === 1 ? x : expand(x, [...batch, ...x.shape.slice(-2)]);
}

/**
 * Matrix product over the last two dims, `[…, m, k] · […, k, n]`; the dims before broadcast. Both are f32 or both bf16.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE, DTYPE_MISMATCH
 */
export function matmul<P extends Placement>(a: Tensor<P>, b: Tensor<P>, options: ComputeOptions = {}): Tensor<P> {
  if (a.shape.length < 2 || b.shape.length < 2)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('matmul')}: ${formatShape(a.shape)} times ${formatShape(b.shape)} needs two dims each. Reshape vectors to matrices.`,
    );
  requireStreams('matmul', { a, b });
  return record(product({ a, b, options }), {
    op: 'matmul',
    inputs: [a, b],
    saved: [a, b],
    backward: (grad) => [
      a.requiresGrad ? sumToShape(product({ a: grad, b, transposeB: true, options }), a.shape) : null, // […, m, k]
      b.requiresGrad ? sumToShape(product({ a, b: grad, transposeA: true, options }), b.shape) : null, // […, k, n]
    ],
  });
}
