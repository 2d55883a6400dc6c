import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Removes what a run that ended left in shared memory; returns the names. */
export function removeSharedMemory(job: string, folder = '/dev/shm'): string[] {
  if (process.platform !== 'linux') return [];
  const names = readdirSync(folder).filter((name) => name.startsWith(`megatron-${job}-`));
  for (const name of names) rmSync(join(folder, name), { force: true });
  return names;
}
