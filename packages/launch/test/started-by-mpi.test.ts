import { startedByMpi } from '@megatron-ts/launch';
import { describe, expect, it } from 'vitest';

describe('startedByMpi', () => {
  it.each([
    ['mpirun of Open MPI', { OMPI_COMM_WORLD_SIZE: '4', OMPI_COMM_WORLD_RANK: '0' }],
    ['mpiexec of MPICH and Intel MPI', { PMI_RANK: '0', PMI_SIZE: '4' }],
    ['srun --mpi=pmix', { SLURM_PROCID: '0', PMIX_RANK: '0' }],
  ])('knows %s', (_, env) => {
    expect(startedByMpi(env)).toBe(true);
  });

  it.each([
    ['no launcher', {}],
    ['torchrun', { RANK: '0', WORLD_SIZE: '4', LOCAL_RANK: '0' }],
    ['srun --mpi=none', { SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '4', PMIX_RANK: '' }],
  ])('does not take %s for one', (_, env) => {
    expect(startedByMpi(env)).toBe(false);
  });
});
