import type { Shape } from '../shape.ts';
import { combined } from './combine.ts';
import { type Placed } from './mesh-layout.ts';
import { reduced } from './moved.ts';

const op = 'crossEntropy';

/** A number of each row of logits `[…, v]`: where the vocabulary is cut, the ranks' numbers have yet to be reduced. */
export function rowStatistic(logits: Placed, reduction: 'max' | 'sum'): Placed {
  const last = logits.shape.length - 1;
  const whole = combined(op, logits.shape, { factors: [logits] });
  return reduced(op, whole, { op: reduction, mask: logits.shape.map((_, dim) => (dim === last ? 1 : 0)) });
}

/** Losses of the rows, of statistics that have been reduced. @throws ConfigError WRONG_PLACEMENT where they have not */
export function lossPlaced(statistics: readonly Placed[], shape: Shape): Placed {
  return combined(
    op,
    shape,
    { factors: statistics.map(({ layout }) => ({ shape, layout })) }, // the shape of the rows: they lie flat in memory
  );
}

/** The gradient of the logits, from that of the losses `[…]`. */
export function logitsGradient(logits: Placed, grad: Placed): Placed {
  return combined(op, logits.shape, { addends: [{ shape: [...grad.shape, 1], layout: grad.layout }], factors: [logits] });
}
