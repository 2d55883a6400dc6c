const setting = process.env['MEGATRON_CHECK'] ?? '';
let checking = setting === '1';
let checkingPlacements = checking || setting === 'placements';

/** Whether `MEGATRON_CHECK=1`: every result is searched for NaN, and nodes remember the caller's line. */
export function isChecking(): boolean {
  return checking;
}

/** Whether `MEGATRON_CHECK` is `1` or `placements`: operations note where results live on the mesh, and refuse what does not fit. */
export function checksPlacements(): boolean {
  return checkingPlacements;
}

/** Runs `f` with checking on or off, as `MEGATRON_CHECK` would set it for a whole process. */
export function withChecking<T>(on: boolean, f: () => T): T {
  const before = [checking, checkingPlacements] as const;
  checking = on;
  checkingPlacements = on;
  try {
    return f();
  } finally {
    [checking, checkingPlacements] = before;
  }
}
