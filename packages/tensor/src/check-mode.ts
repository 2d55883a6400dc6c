let checking = process.env['MEGATRON_CHECK'] === '1';

/** Whether `MEGATRON_CHECK=1`: every result is searched for NaN, and nodes remember the caller's line. */
export function isChecking(): boolean {
  return checking;
}

/** Runs `f` with checking on or off, as `MEGATRON_CHECK` would set it for a whole process. */
export function withChecking<T>(on: boolean, f: () => T): T {
  const before = checking;
  checking = on;
  try {
    return f();
  } finally {
    checking = before;
  }
}
