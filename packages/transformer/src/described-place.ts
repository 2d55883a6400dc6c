import { createMesh, type MeshConfig } from '@megatron-ts/mesh';
import { ProcessGroup } from '@megatron-ts/process-groups';
import type { ModelContext } from './gpt-options.ts';

/** Sizes of a mesh that need not exist. The world is as large as they need by default. */
export interface DescribedPlaceOptions extends Partial<MeshConfig> {
  /** Which rank of it to stand on; 0 by default. */
  readonly rank?: number;
}

/**
 * A rank's place on a mesh of any size without any other rank: what a model is constructed on to be counted or looked at. Nothing can be
 * run on it.
 * @throws ConfigError as `createMesh`
 */
export function describedPlace({ rank = 0, ...sizes }: DescribedPlaceOptions = {}): ModelContext {
  const { tensorModelParallelSize = 1, pipelineModelParallelSize = 1 } = sizes;
  const mesh = createMesh({ worldSize: tensorModelParallelSize * pipelineModelParallelSize, ...sizes });
  const groupOf = (name: 'tp' | 'pp') => {
    const ranks = mesh.groupOf(rank, name);
    return new ProcessGroup({ name, ranks, rank: ranks.indexOf(rank), worldRank: rank, id: undefined });
  };
  return { tp: groupOf('tp'), pp: groupOf('pp'), mesh };
}
