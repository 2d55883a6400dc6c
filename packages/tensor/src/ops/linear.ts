import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { computeCode, type ComputeOptions } from '../compute-dtype.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import { type PartialSum, type Placement, productPlacement, type Replicated, type Sharded } from '../placement.ts';
import { combined, contracted, overRows, place, placed, type Placed } from '../placements/index.ts';
import { result } from '../result.ts';
import { extentOf, formatShape, numel } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { requireStreams } from './operands.ts';
import { parameterGrads, plainGrads, type WeightGradient } from './weight-grad.ts';

function check(x: AnyTensor, weight: AnyTensor, bias: AnyTensor | undefined): void {
  requireStreams('linear', { x }, bias === undefined ? { weight } : { weight, bias });
  const [outputSize, inputSize] = weight.shape;
  if (weight.shape.length !== 2 || x.shape.length < 1 || x.shape.at(-1) !== inputSize)
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('linear')}: x ${formatShape(x.shape)} and weight ${formatShape(weight.shape)} do not fit. The last dim of x must be the weight's second.`,
    );
  if (bias !== undefined && (bias.shape.length !== 1 || bias.shape[0] !== outputSize))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${where('linear')}: bias ${formatShape(bias.shape)} and weight ${formatShape(weight.shape)} do not fit. The bias must have the weight's first extent.`,
    );
}

/** `x · weightᵀ + bias` for a weight cut by output features: the result is cut along its hidden dim. */
export function linear(
  x: Tensor,
  weight: Tensor<Sharded<'tp', 'hidden'>>,
  bias?: Tensor<Sharded<'tp', 'hidden'>>,
  options?: ComputeOptions,
): Tensor<Sharded<'tp', 'hidden'>>;
/** For a weight cut by tokens, as a head's: the result is cut along its vocabulary. */
export function linear(
  x: Tensor,
  weight: Tensor<Sharded<'tp', 'vocab'>>,
  bias?: Tensor<Sharded<'tp', 'vocab'>>,
  options?: ComputeOptions,
): Tensor<Sharded<'tp', 'vocab'>>;
/** For a hidden shard and a weight cut by input features: each rank gets a summand. */
export function linear(
  x: Tensor<Sharded<'tp', 'hidden'>>,
  weight: Tensor<Sharded<'tp', 'hidden'>>,
  bias?: undefined,
  options?: ComputeOptions,
): Tensor<PartialSum<'tp'>>;
/**
 * `x · weightᵀ + bias`, `x` `[…, inputSize]`, weight `[outputSize, inputSize]`, bias `[outputSize]`.
 * Each may be f32 or bf16; the result has the dtype of `x`, and is rounded once. The weight's gradient goes straight into its
 * `gradTarget()`, in f32.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE
 */
export function linear(x: Tensor, weight: Tensor<Replicated>, bias?: Tensor<Replicated>, options?: ComputeOptions): Tensor;
export function linear(x: AnyTensor, weight: AnyTensor, bias?: AnyTensor, options: ComputeOptions = {}): AnyTensor {
  const products = linearProducts(x, weight, { bias, ...options });
  return record(products.output(x), {
    op: 'linear',
    inputs: bias === undefined ? [x, weight] : [x, weight, bias],
    saved: weight.requiresGrad ? [x, weight] : [weight],
    backward: (grad) => [x.requiresGrad ? products.inputGrad(grad) : null, ...products.plainGrads(grad, x)],
    backwardWeight: (grad) => products.parameterGrads(grad, x),
  });
}

/** What a linear layer adds and computes in. */
export interface LinearProductsOptions extends ComputeOptions {
  /** `[outputSize]`; none by default. */
  readonly bias?: AnyTensor | undefined;
}

/** The products of a linear layer one by one, unrecorded: for operations that do something else between them, such as communicate. */
export interface LinearProducts {
  /** `x · weightᵀ + bias`, `[…, outputSize]`. */
  output(x: AnyTensor): AnyTensor;
  /** Gradient of `x` from that of the output, `[…, inputSize]`. */
  inputGrad(grad: AnyTensor): AnyTensor;
  /** Gradients of weight and bias where they are no parameters, else null. */
  plainGrads(grad: AnyTensor, x: AnyTensor): (AnyTensor | null)[];
  /** Gradients of weight and bias where they are parameters, straight into their f32 `gradTarget()`. */
  parameterGrads(grad: AnyTensor, x: AnyTensor): void;
}

/**
 * The products of `linear` for inputs of the form of `x` `[…, inputSize]`, with its bits. `x` itself is not held.
 * @throws ShapeError SHAPE_MISMATCH, DTypeError UNSUPPORTED_DTYPE
 */
export function linearProducts(x: AnyTensor, weight: AnyTensor, { bias, ...options }: LinearProductsOptions = {}): LinearProducts {
  check(x, weight, bias);
  const { dtype } = x;
  const compute = computeCode('linear', dtype, options);
  const [outputSize, inputSize] = [extentOf(weight.shape, 0), extentOf(weight.shape, 1)];
  const outer = x.shape.slice(0, -1);
  const rows = numel(outer);
  const inputForm = { shape: x.shape, dtype, placement: x.placement as Placement };
  const outputForm = {
    shape: [...outer, outputSize],
    dtype,
    placement: productPlacement(inputForm.placement, weight.placement as Placement),
  };
  const inputLayout = Uint32Array.of(1, rows, inputSize, outputSize, 0, 0, 0, 0); // grad · weight: [rows, inputSize]
  const weightLayout = Uint32Array.of(1, outputSize, inputSize, rows, 0, 0, 1, 0); // gradᵀ · x: [outputSize, inputSize]
  const gradients = (input: AnyTensor): WeightGradient[] => [
    {
      weight,
      write: (grad) => (target, accumulate) => engine.matmulInto(target, grad.handle, input.handle, weightLayout, accumulate, compute),
      placement: (grad) => placements.weightGrad(placed(grad), placed(input)),
    },
    {
      weight: bias,
      write: (grad) => (target, accumulate) => engine.sumRows(grad.handle, rows, outputSize, target, accumulate),
      placement: (grad) => overRows('linear', placed(grad)),
    },
  ];
  const placements = linearPlacements(placed(weight), outer);
  return {
    output: (input) => {
      const y = result(
        'linear',
        engine.linear(input.handle, weight.handle, bias?.handle ?? 0, rows, inputSize, outputSize, compute),
        outputForm,
      );
      return checksPlacements() ? place(y, placements.output(placed(input), bias)) : y;
    },
    inputGrad: (grad) => {
      const dx = result('linear', engine.matmul(grad.handle, weight.handle, inputLayout, compute), inputForm);
      return checksPlacements() ? place(dx, placements.inputGrad(placed(grad))) : dx;
    },
    plainGrads: (grad, input) => plainGrads(gradients(input), grad),
    parameterGrads: (grad, input) => parameterGrads(gradients(input), grad),
  };
}

/** Where the products of a linear layer live; `outer` are the extents before the last of its input. */
function linearPlacements(weight: Placed, outer: readonly number[]) {
  const [outputSize, inputSize] = [extentOf(weight.shape, 0), extentOf(weight.shape, 1)];
  const rows = outer.map((_, dim) => `row ${dim}`);
  const w = { operand: weight, labels: ['out', 'in'] };
  const inputs = (operand: Placed) => ({ operand, labels: [...rows, 'in'] });
  const outputs = (operand: Placed) => ({ operand, labels: [...rows, 'out'] });
  return {
    output: (x: Placed, bias: AnyTensor | undefined) => {
      const product = contracted('linear', [inputs(x), w], { shape: [...outer, outputSize], labels: [...rows, 'out'] });
      return bias === undefined ? product.layout : combined('linear', product.shape, { addends: [product, placed(bias)] }).layout;
    },
    inputGrad: (grad: Placed) => contracted('linear', [outputs(grad), w], { shape: [...outer, inputSize], labels: [...rows, 'in'] }).layout,
    weightGrad: (grad: Placed, x: Placed) =>
      contracted('linear', [outputs(grad), inputs(x)], { shape: weight.shape, labels: ['out', 'in'] }),
  };
}
