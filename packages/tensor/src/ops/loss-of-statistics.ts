import { engine } from '../engine.ts';
import type { Shape } from '../shape.ts';
import { numel } from '../shape.ts';
import { result } from '../result.ts';
import type { AnyTensor, Tensor } from '../tensor.ts';

const dense = new Uint32Array(0);

/** Cross entropy of each row from its statistics `[2, rows]`: sum of exponentials, and logit of the target, both less the maximum. */
export function lossOfStatistics(statistics: AnyTensor, shape: Shape): Tensor {
  const rows = numel(shape);
  const half = (at: number) => engine.alias(statistics.handle, at * rows, rows);
  const [sums, predicted] = [half(0), half(1)];
  const logs = engine.unary(2, sums); // log
  const loss = engine.binary(1, logs, predicted, dense); // sub
  for (const handle of [sums, predicted, logs]) engine.release(handle);
  return result('crossEntropy', loss, { shape: [...shape], dtype: 'f32', placement: 'replicated' });
}
