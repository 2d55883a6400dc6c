import { ConfigError } from '@megatron-ts/errors';

/** Learning rate of an update, from the number of updates made before it: 0 for the first. A skipped update is not counted. */
export type LearningRateSchedule = (updates: number) => number;

/** The same rate for every update. @throws ConfigError INVALID_OPTION */
export function constant(lr: number): LearningRateSchedule {
  requireRate('constant', 'lr', lr);
  return () => lr;
}

/** Rates and lengths of a warm-up followed by a cosine. */
export interface WarmupCosineOptions {
  /** Rate at the end of the warm-up. */
  readonly maxLr: number;
  /** Rate at and after `totalSteps`; 0 by default. */
  readonly minLr?: number;
  /** Updates in which the rate rises from 0 in a straight line; the first update has rate 0 when there are any. 0 by default. */
  readonly warmupSteps?: number;
  /** Updates after which `minLr` is reached, the warm-up among them. */
  readonly totalSteps: number;
}

/**
 * Straight up to `maxLr`, then half a cosine down to `minLr`.
 * @throws ConfigError INVALID_OPTION
 * @source Loshchilov and Hutter, SGDR (ICLR 2017); Megatron-core, `optimizer_param_scheduler.py`
 */
export function warmupCosine({ maxLr, minLr = 0, warmupSteps = 0, totalSteps }: WarmupCosineOptions): LearningRateSchedule {
  requireRate('warmupCosine', 'maxLr', maxLr);
  requireRate('warmupCosine', 'minLr', minLr);
  if (minLr > maxLr)
    throw new ConfigError('INVALID_OPTION', `warmupCosine: minLr ${minLr} is above maxLr ${maxLr}. Exchange them, or lower minLr.`);
  if (!(Number.isInteger(warmupSteps) && Number.isInteger(totalSteps) && 0 <= warmupSteps && warmupSteps < totalSteps))
    throw new ConfigError(
      'INVALID_OPTION',
      `warmupCosine: warmupSteps ${warmupSteps} and totalSteps ${totalSteps} do not fit. Use whole numbers with 0 <= warmupSteps < `
        + 'totalSteps.',
    );
  return (updates) => {
    if (updates <= warmupSteps && warmupSteps > 0) return (maxLr * updates) / warmupSteps;
    if (updates >= totalSteps) return minLr;
    const done = (updates - warmupSteps) / (totalSteps - warmupSteps);
    return minLr + (maxLr - minLr) * 0.5 * (1 + Math.cos(Math.PI * done));
  };
}

/** @throws ConfigError INVALID_OPTION for a rate that is negative or not a number. */
export function requireRate(where: string, name: string, rate: number): void {
  if (Number.isFinite(rate) && rate >= 0) return;
  throw new ConfigError('INVALID_OPTION', `${where}: ${name} is ${rate}. Use a number of at least 0.`);
}
