import { EngineError } from '@megatron-ts/errors';
import { ambient } from './ambient.ts';
import { isChecking } from './check-mode.ts';
import { type DType, isFloating } from './dtype.ts';
import { engine } from './engine.ts';
import type { Placement } from './placement.ts';
import { type AnyTensor, Tensor } from './tensor.ts';
import { callerLine, where } from './where-in-model.ts';

/** What an operation's result looks like. */
export interface ResultForm<P extends Placement> {
  /** Extents. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
  /** Where its value lives. */
  readonly placement: P;
}

/** Wraps what the engine made for operation `op`; under `MEGATRON_CHECK=1` the first NaN ends the run with its origin. */
export function result<P extends Placement>(op: string, handle: number, { shape, dtype, placement }: ResultForm<P>): Tensor<P> {
  const tensor = new Tensor<P>(handle, { shape, dtype, placement });
  if (isChecking() && isFloating(dtype)) refuseNaN(op, tensor);
  return tensor;
}

function refuseNaN(op: string, tensor: AnyTensor): void {
  const { nan } = engine.moments(tensor.handle);
  if (nan === 0) return;
  throw new EngineError(
    'NAN',
    `${where(op)}${callOf()}: ${nan} of the ${tensor.numel} values of the result ${tensor.dtype}[${tensor.shape.join(', ')}] are NaN, and none was before. Look at the inputs of this operation.`,
  );
}

/** The caller's line, unless a backward runs: that names the forward's line already. */
function callOf(): string {
  const line = ambient.backwardNode === undefined ? callerLine() : undefined;
  return line === undefined ? '' : ` (at ${line})`;
}
