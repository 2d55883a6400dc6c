export { ComparisonError } from './comparison-error.ts';
export { expectBitwise } from './expect-bitwise.ts';
export { expectClose, expectRelativeL2, type NormTolerance, relativeL2, type Tolerance } from './expect-close.ts';
export { expectUlp } from './expect-ulp.ts';
export { gradCheck, type GradCheckOptions, type GradCheckReport } from './grad-check.ts';
export { type RankOptions, type RankOutcome } from './observe-world.ts';
export { observeRanks, runRanks } from './run-ranks.ts';
export { type Numbers, type Readout } from './values-of.ts';
export { type RankReport } from '@megatron-ts/launch';
