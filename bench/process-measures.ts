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

/** Page faults so far of the engine's own threads that needed no disk. undefined where the system does not tell. */
export function engineThreadFaults(): number | undefined {
  try {
    const faults = readdirSync('/proc/self/task').map((task) => {
      const stat = readFileSync(`/proc/self/task/${task}/stat`, 'utf8');
      const [name, rest] = [stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')), stat.slice(stat.lastIndexOf(')') + 2)];
      return name.startsWith('megatron') ? Number(rest.split(' ')[7]) : 0;
    });
    return faults.reduce((sum, own) => sum + own, 0);
  } catch {
    return undefined;
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
