import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { planWorld } from '@megatron-ts/launch';
import { observeProcesses } from './observe-processes.ts';
import { observeThreads } from './observe-threads.ts';
import type { Observation, WorldCall } from './observed-world.ts';

/** Runs a world until all its ranks have ended, by themselves or at the deadline. Flight records that no test asked for go with it. */
export async function observeWorld<T>(size: number, { call, onFailure, options }: WorldCall): Promise<Observation<T>> {
  const { timeoutMs = 120_000, inProcess = false } = options;
  const records = mkdtempSync(join(tmpdir(), 'megatron-records-'));
  const env = { MEGATRON_RECORDER_DIR: records, ...process.env, NODE_OPTIONS: undefined, ...options.env };
  const plan = planWorld({ ranksPerNode: size, nodes: 1, nodeRank: 0 });
  try {
    return await (inProcess ? observeThreads<T> : observeProcesses<T>)({ plan, call, onFailure, env, timeoutMs });
  } finally {
    rmSync(records, { recursive: true, force: true });
  }
}
