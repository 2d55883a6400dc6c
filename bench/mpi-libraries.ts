import { spawnSync } from 'node:child_process';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** An MPI that Python programs can be started with. */
export interface Mpi {
  /** Its launcher. */
  readonly mpiexec: string;
  /** Options of the launcher, before `-n`. */
  readonly args: readonly string[];
  /** Variables of the launcher and its ranks. @param crowded - whether ranks outnumber the cores */
  readonly env: (crowded: boolean) => Readonly<Record<string, string | undefined>>;
}

/** The MPIs in `build/mpi`, put there by `node tools/mpi.mjs`; mpi4py is added to the peers' Python. @throws Error when they cannot be had */
export function mpiLibraries(python: string): Mpi[] {
  require(process.execPath, [fileURLToPath(new URL('../tools/mpi.mjs', import.meta.url))], 'MPI libraries');
  if (spawnSync(python, ['-c', 'import mpi4py']).status !== 0) require(python, ['-m', 'pip', 'install', '--quiet', 'mpi4py'], 'mpi4py');
  const paths = require(process.execPath, [fileURLToPath(new URL('../tools/mpi.mjs', import.meta.url)), '--paths'], 'MPI libraries').split(
    '\n',
  );
  const launchers = paths.filter((path) => basename(path) === 'mpiexec');
  return launchers.map((mpiexec) => {
    const folder = dirname(dirname(mpiexec));
    const library = paths.find((path) => path.startsWith(folder) && basename(path).startsWith('libmpi.so.'));
    const isOpen = basename(folder) === 'openmpi';
    // Root may run it in a container; Open MPI asks to be told.
    const asRoot = process.getuid?.() === 0 ? ['--allow-run-as-root'] : [];
    return {
      mpiexec,
      args: isOpen ? [...asRoot, '--oversubscribe'] : [],
      env: (crowded) => ({ MPI4PY_LIBMPI: library, OMPI_MCA_mpi_yield_when_idle: crowded ? '1' : undefined }),
    };
  });
}

function require(command: string, args: readonly string[], what: string): string {
  const { status, stdout, error } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status === 0) return stdout.trim();
  throw new Error(`bench: ${what} cannot be had (${error?.message ?? `status ${status}`}). Its message stands above.`);
}
