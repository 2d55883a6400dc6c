import { type Environment, wholeNumberOf } from './whole-number.ts';

/** Variable in which a rank finds the process that started it. */
export const launcherVariable = 'MEGATRON_LAUNCHER';

/** The process that started this rank, while it is its parent: a rank must not outlive it, even in a loop that never yields. */
export function launcherProcess(env: Environment = process.env, parent: number = process.ppid): number | undefined {
  const launcher = wholeNumberOf(env, launcherVariable, 1);
  return launcher === parent ? launcher : undefined;
}
