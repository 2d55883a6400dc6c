/** The multiples of `step` beside `value`, for the end of an error sentence: `nearestMultiples(100, 32)` is `96 or 128`. */
export function nearestMultiples(value: number, step: number): string {
  const above = Math.ceil(value / step) * step;
  const below = above - step;
  return below > 0 ? `${below} or ${above}` : `${Math.max(above, step)}`;
}
