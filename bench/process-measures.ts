import { readdirSync, readFileSync } from 'node:fs';

/** Seconds for which threads of this process could have run and did not, because others had the cores. 0 where the system does not tell. */
export function runQueueWait(): number {
  try {
    const waits = readdirSync('/proc/self/task').map((task) =>
      Number(readFileSync(`/proc/self/task/${task}/schedstat`, 'utf8').split(' ')[1]),
    );
    return waits.reduce((sum, wait) => sum + wait, 0) / 1e9;
  } catch {
    return 0;
  }
}

/** Most memory this process ever had resident, in bytes (VmHWM). */
export function peakResidentBytes(): number {
  try {
    const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    return Number(line?.[1]) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}
