import { type Environment, textOf } from './whole-number.ts';

/** What the launchers of MPI libraries tell their processes: Open MPI, Hydra, and Slurm's step with `--mpi`. */
const signs = ['OMPI_COMM_WORLD_SIZE', 'PMI_RANK', 'PMI_SIZE', 'PMI_FD', 'PMIX_RANK', 'PMIX_NAMESPACE'];

/** Whether an MPI library finds its peers from here. */
export function startedByMpi(env: Environment = process.env): boolean {
  return signs.some((name) => textOf(env, name) !== undefined);
}
