/** Lets a stopped process go on. Another survivor may have done so before, and it may have ended since. */
export function wake(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
