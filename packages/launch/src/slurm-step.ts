import { ConfigError } from '@megatron-ts/errors';

/** Tasks on each node from Slurm's shorthand: `2(x3),1` is `[2, 2, 2, 1]`. @throws ConfigError INVALID_VARIABLE */
export function expandTasksPerNode(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [, tasks, times = '1'] = /^(\d+)(?:\(x(\d+)\))?$/.exec(part.trim()) ?? [];
    if (tasks !== undefined) return new Array<number>(Number(times)).fill(Number(tasks));
    throw new ConfigError('INVALID_VARIABLE', `launch: SLURM_STEP_TASKS_PER_NODE is ${JSON.stringify(text)}. It should read like 2(x3),1.`);
  });
}

/** The first host of Slurm's shorthand for hosts: `n[07-09,12],login` begins with `n07`. */
export function firstHost(nodeList: string): string {
  const [, prefix = '', ranges, suffix = ''] = /^([^[,]*)(?:\[([^\]]*)\]([^,]*))?/.exec(nodeList.trim()) ?? [];
  if (ranges === undefined) return prefix;
  const [first = ''] = ranges.split(/[,-]/);
  return `${prefix}${first}${suffix}`;
}
