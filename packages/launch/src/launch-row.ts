import { ConfigError } from '@megatron-ts/errors';
import { expandTasksPerNode } from './slurm-step.ts';
import { type Environment, textOf, wholeNumberOf } from './whole-number.ts';

/** Who started the ranks, in the order in which their words are believed. */
export type LaunchSource = 'options' | 'megatron' | 'torchrun' | 'openmpi' | 'pmi' | 'slurm' | 'pod' | 'single';

/** One launcher's word on which rank this process is. */
export interface LaunchRow {
  /** Who says so. */
  readonly source: LaunchSource;
  /** This process's number in the world. */
  readonly rank: number;
  /** How many processes the world has. */
  readonly worldSize: number;
  /** This process's number on its host. */
  readonly localRank: number;
  /** How many processes of the world are on this host. */
  readonly localWorldSize: number;
}

/** Names of the four variables of a launcher. */
type Names = readonly [rank: string, worldSize: string, localRank: string, localWorldSize: string];

const megatron: Names = ['MEGATRON_RANK', 'MEGATRON_WORLD_SIZE', 'MEGATRON_LOCAL_RANK', 'MEGATRON_LOCAL_WORLD_SIZE'];
const torchrun: Names = ['RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'];
const openMpi: Names = ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_LOCAL_SIZE'];

/** The row of a launcher that sets four variables, if it set the one that tells it was here. */
function fourVariables(env: Environment, source: LaunchSource, { names, sign }: { names: Names; sign: string }): LaunchRow | undefined {
  if (textOf(env, sign) === undefined) return undefined;
  const [rank, worldSize, localRank, localWorldSize] = names;
  return {
    source,
    rank: needed(env, rank, sign),
    worldSize: needed(env, worldSize, sign, 1),
    localRank: needed(env, localRank, sign),
    localWorldSize: needed(env, localWorldSize, sign, 1),
  };
}

function needed(env: Environment, name: string, sign: string, least = 0): number {
  const value = wholeNumberOf(env, name, least);
  if (value !== undefined) return value;
  throw new ConfigError('MISSING_VARIABLE', `launch: ${sign} is set but ${name} is not. Set both, or neither.`, {
    fields: { variable: name },
  });
}

/** Hydra: MPICH and Intel MPI. Under `srun --mpi=pmi2` the local pair is Slurm's. */
function pmi(env: Environment): LaunchRow | undefined {
  const rank = wholeNumberOf(env, 'PMI_RANK');
  const worldSize = wholeNumberOf(env, 'PMI_SIZE', 1);
  if (rank === undefined || worldSize === undefined) return undefined;
  const localRank = wholeNumberOf(env, 'MPI_LOCALRANKID') ?? wholeNumberOf(env, 'SLURM_LOCALID');
  const localWorldSize = wholeNumberOf(env, 'MPI_LOCALNRANKS', 1) ?? slurmTasksHere(env);
  // A bare PMI pair says nothing of hosts: it is one, as far as we can know.
  return { source: 'pmi', rank, worldSize, localRank: localRank ?? rank, localWorldSize: localWorldSize ?? worldSize };
}

/** A Slurm step. Inside a batch script SLURM_PROCID is 0 without any step, so the step's own variables decide. */
function slurm(env: Environment): LaunchRow | undefined {
  const rank = wholeNumberOf(env, 'SLURM_PROCID');
  const worldSize = wholeNumberOf(env, 'SLURM_STEP_NUM_TASKS', 1);
  if (rank === undefined || worldSize === undefined) return undefined;
  const localRank = wholeNumberOf(env, 'SLURM_LOCALID') ?? 0;
  return { source: 'slurm', rank, worldSize, localRank, localWorldSize: slurmTasksHere(env) ?? 1 };
}

function slurmTasksHere(env: Environment): number | undefined {
  const tasks = textOf(env, 'SLURM_STEP_TASKS_PER_NODE');
  return tasks === undefined ? undefined : expandTasksPerNode(tasks)[wholeNumberOf(env, 'SLURM_NODEID') ?? 0];
}

/** One process per pod: RANK and WORLD_SIZE count pods, and LOCAL_RANK is absent. */
function pod(env: Environment): LaunchRow | undefined {
  if (textOf(env, 'LOCAL_RANK') !== undefined) return undefined;
  const rank = wholeNumberOf(env, 'RANK');
  const worldSize = wholeNumberOf(env, 'WORLD_SIZE', 1);
  return rank === undefined || worldSize === undefined ? undefined : { source: 'pod', rank, worldSize, localRank: 0, localWorldSize: 1 };
}

/** What each launcher found in the environment says, the most credible first. @throws ConfigError INVALID_VARIABLE, MISSING_VARIABLE */
export function rowsOf(env: Environment): LaunchRow[] {
  const rows = [
    fourVariables(env, 'megatron', { names: megatron, sign: 'MEGATRON_RANK' }),
    fourVariables(env, 'torchrun', { names: torchrun, sign: 'LOCAL_RANK' }),
    fourVariables(env, 'openmpi', { names: openMpi, sign: 'OMPI_COMM_WORLD_RANK' }),
    pmi(env),
    slurm(env),
    pod(env),
  ];
  return rows.filter((row) => row !== undefined);
}
