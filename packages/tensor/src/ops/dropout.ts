import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from '../check-mode.ts';
import { drawOf, type DrawOptions, requireDropoutRates, requireWords } from '../draw.ts';
import { engine } from '../engine.ts';
import { record } from '../node.ts';
import type { Whole } from '../placement.ts';
import { combined, layoutOf, overRows, place, placed, placedIf } from '../placements/index.ts';
import { result } from '../result.ts';
import { formatShape, sameShape } from '../shape.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';
import { biasAdd } from './bias-add.ts';
import { requireDType, requireSameDType } from './operands.ts';
import { targetOf } from './weight-grad.ts';

/** A dropout of activations, whose draws know the sample, the token and the channel of an element. */
export interface DropoutOptions extends DrawOptions {
  /** Number of the first token of `x` in the whole sequence: rank · s / t under sequence parallelism; 0 by default. */
  readonly firstToken?: number;
}

interface Operands {
  readonly x: AnyTensor;
  readonly bias: AnyTensor | undefined;
  readonly residual: AnyTensor | undefined;
}

/**
 * `x` `[s, b, h]` with a share of its elements set to zero and the others divided by 1 - p; `x` itself for p = 0 and inside `evaluate`.
 * Backward draws the same again: nothing is saved.
 * @throws ShapeError SHAPE_MISMATCH, ConfigError INVALID_OPTION, OUTSIDE_STEP
 * @source Srivastava et al. 2014, section 4; Salmon et al. 2011 (the generator)
 */
export function dropout<P extends Whole>(x: Tensor<P>, options: DropoutOptions): Tensor<P> {
  return dropped('dropout', { x, bias: undefined, residual: undefined }, options) ?? x;
}

/**
 * `residual + dropout(x + bias)` in one pass; `x` and `residual` `[s, b, h]`, bias `[h]` or none. Where nothing is dropped it is `biasAdd`.
 * Bits are those of the operations one after the other, but for the gradient of the bias, whose rows are added in another order.
 * @throws ShapeError SHAPE_MISMATCH, ConfigError INVALID_OPTION, OUTSIDE_STEP
 */
export function biasDropoutAdd<P extends Whole>(
  x: Tensor<P>,
  bias: AnyTensor | undefined,
  residual: Tensor<P>,
  options: DropoutOptions,
): Tensor<P> {
  return dropped('biasDropoutAdd', { x, bias, residual }, options) ?? biasAdd(x, bias, residual);
}

/** Undefined where nothing is dropped. */
function dropped(op: string, { x, bias, residual }: Operands, options: DropoutOptions): AnyTensor | undefined {
  if (options.p === 0) return undefined;
  requireDropoutRates(op, { p: options.p });
  requireOperands(op, { x, bias, residual });
  const [seq = 0, batch = 0, cols = 0] = x.shape;
  const { p, key, firstSample } = drawOf(op, options, batch);
  if (p === 0) return undefined;
  const { firstToken = 0 } = options;
  requireWords(op, { firstToken });
  const settings = Uint32Array.of(seq, batch, cols, ...key, firstSample, firstToken);
  const form = { shape: x.shape, dtype: x.dtype, placement: x.placement as Whole };
  const others = residual === undefined ? [x] : [x, residual];
  const y = result(op, engine.dropout(x.handle, bias?.handle ?? 0, residual?.handle ?? 0, settings, p), form);
  if (checksPlacements()) place(y, combined(op, x.shape, { factors: [x, bias, residual].flatMap(placedIf) }).layout);
  return record(y, {
    op,
    inputs: bias === undefined ? others : [...others, bias],
    saved: [],
    backward: (grad) => {
      const dx = result(op, engine.dropout(grad.handle, 0, 0, settings, p), form);
      if (checksPlacements()) place(dx, layoutOf(grad));
      const { handle, accumulate, gradient } = targetOf(bias, () => overRows(op, placed(grad)));
      if (handle !== 0) engine.sumRows(dx.handle, seq * batch, cols, handle, accumulate);
      return residual === undefined ? [dx, gradient()] : [dx, grad, gradient()];
    },
  });
}

function requireOperands(op: string, { x, bias, residual }: Operands): void {
  requireDType(op, { x, ...(bias === undefined ? {} : { bias }), ...(residual === undefined ? {} : { residual }) }, 'f32', 'bf16');
  if (residual !== undefined) requireSameDType(op, x, residual);
  if (x.shape.length !== 3)
    throw new ShapeError('SHAPE_MISMATCH', `${where(op)}: x ${formatShape(x.shape)} is not [s, b, h]. Reshape it to these three dims.`);
  const [, , cols = 0] = x.shape;
  const isFit = (bias === undefined || sameShape(bias.shape, [cols])) && (residual === undefined || sameShape(residual.shape, x.shape));
  if (isFit) return;
  const [biasShape, residualShape] = [bias, residual].map((operand) => (operand === undefined ? '(none)' : formatShape(operand.shape)));
  throw new ShapeError(
    'SHAPE_MISMATCH',
    `${where(op)}: x ${formatShape(x.shape)}, bias ${biasShape} and residual ${residualShape} do not fit. The bias needs the last extent of x, and the residual its shape.`,
  );
}
