/** The rules a schedule must keep. */
export type ScheduleRule = 'shape' | 'complete' | 'order' | 'data' | 'pairing' | 'deadlock' | 'memory';

/** One broken rule, where it shows. */
export interface ScheduleProblem {
  /** The rule that is broken. */
  readonly rule: ScheduleRule;
  /** Pipeline rank on which it shows. */
  readonly rank: number;
  /** Index in the rank's list; the list's length when something is missing from it. */
  readonly action: number;
  /** What is wrong and what to change, without rank and index. */
  readonly sentence: string;
}
