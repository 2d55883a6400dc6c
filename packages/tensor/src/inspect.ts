import { isFloating } from './dtype.ts';
import { engine } from './engine.ts';
import { toTypedArray } from './read.ts';
import { formatShape } from './shape.ts';
import type { AnyTensor } from './tensor.ts';

const shownValues = 6;

function short(value: number | bigint): string {
  return typeof value === 'bigint' || Number.isSafeInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
}

/** `Tensor f32 [2, 4] 1, 2, 3, 4, 5, 6, … (min 1, max 8, mean 4.5)`, with placement and NaN count where there is something to say. */
export function describeTensor(tensor: AnyTensor): string {
  const form = `${tensor.constructor.name} ${tensor.dtype} ${formatShape(tensor.shape)}`;
  const placement = tensor.placement === 'replicated' ? '' : ` (${String(tensor.placement)})`;
  if (!tensor.isLive) return `${form}${placement} disposed`;
  if (tensor.asParameter?.isInitialized === false) return `${form}${placement} not initialized`;
  const values = toTypedArray(tensor);
  const first = Array.from({ length: Math.min(values.length, shownValues) }, (_, i) => short(values[i] ?? 0));
  const list = first.join(', ') + (values.length > shownValues ? ', …' : '');
  if (!isFloating(tensor.dtype) || values.length === 0) return `${form}${placement} ${list}`;
  const { min, max, mean, nan } = engine.moments(tensor.handle);
  const faults = nan > 0 ? `, ${nan} NaN` : '';
  return `${form}${placement} ${list} (min ${short(min)}, max ${short(max)}, mean ${short(mean)}${faults})`;
}
