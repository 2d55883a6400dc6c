import { randomBytes } from 'node:crypto';
import { ConfigError } from '@megatron-ts/errors';
import type { WorldPlan } from './rank-environment.ts';
import { type Environment, textOf, wholeNumberOf } from './whole-number.ts';

/** What a user says of hosts and ranks; what is left out is read from the node-level variables of cluster managers. */
export interface WorldRequest {
  /** Ranks on each host. */
  readonly ranksPerNode?: number | undefined;
  /** Hosts. */
  readonly nodes?: number | undefined;
  /** This host's number. */
  readonly nodeRank?: number | undefined;
  /** Host of rank 0. */
  readonly masterAddr?: string | undefined;
  /** Port on that host. */
  readonly masterPort?: number | undefined;
}

const nodeRankNames = ['PET_NODE_RANK', 'JOB_COMPLETION_INDEX', 'VC_TASK_INDEX', 'SKYPILOT_NODE_RANK', 'NODE_RANK'];
const nodesNames = ['PET_NNODES', 'SKYPILOT_NUM_NODES'];
const ranksPerNodeNames = ['PET_NPROC_PER_NODE', 'SKYPILOT_NUM_GPUS_PER_NODE'];

function firstSet(env: Environment, names: readonly string[], least = 0): number | undefined {
  return names.map((name) => wholeNumberOf(env, name, least)).find((value) => value !== undefined);
}

/** The part of the world that this host starts. @throws ConfigError OUT_OF_RANGE, MISSING_OPTION, INVALID_VARIABLE */
export function planWorld(request: WorldRequest, env: Environment = process.env): WorldPlan {
  const size = request.nodes ?? firstSet(env, nodesNames, 1) ?? 1;
  const localWorldSize = request.ranksPerNode ?? firstSet(env, ranksPerNodeNames, 1) ?? 1;
  const rank = request.nodeRank ?? (size > 1 ? firstSet(env, nodeRankNames) : 0);
  if (rank === undefined)
    throw new ConfigError(
      'MISSING_OPTION',
      `run: --nnodes is ${size}, but which of them is this? Give --node-rank, from 0 to ${size - 1}.`,
    );
  if (rank >= size)
    throw new ConfigError('OUT_OF_RANGE', `run: --node-rank is ${rank} with --nnodes ${size}. Use 0 to ${size - 1}.`, {
      fields: { rank, size },
    });
  const masterAddr = request.masterAddr ?? textOf(env, 'PET_MASTER_ADDR') ?? skypilotHost(env) ?? (size > 1 ? undefined : '127.0.0.1');
  const masterPort = request.masterPort ?? wholeNumberOf(env, 'PET_MASTER_PORT', 1) ?? 29500;
  if (masterAddr === undefined)
    throw new ConfigError('MISSING_OPTION', `run: --nnodes is ${size}, but where is rank 0? Give --master-addr, the same on all hosts.`);
  const worldSize = size * localWorldSize;
  const job =
    size === 1
      ? `run-${process.pid}-${randomBytes(4).toString('hex')}`
      : `run-${masterAddr}-${masterPort}`.replaceAll(/[^A-Za-z0-9.-]/g, '-');
  return { worldSize, firstRank: rank * localWorldSize, localWorldSize, node: { rank, size }, masterAddr, masterPort, job };
}

function skypilotHost(env: Environment): string | undefined {
  return textOf(env, 'SKYPILOT_NODE_IPS')?.split(/\s+/)[0];
}
