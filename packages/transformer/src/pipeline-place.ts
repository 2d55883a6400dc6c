import { ConfigError } from '@megatron-ts/errors';
import { assignLayers } from '@megatron-ts/mesh';
import type { ModelContext } from './gpt-options.ts';

/** What a pipeline gives a chunk of a model. */
export interface PipelinePlace {
  /** Whether it begins with the embedding. */
  readonly isFirst: boolean;
  /** Whether it ends with the head. */
  readonly isLast: boolean;
  /** Its layers, by their number in the whole model. */
  readonly layers: readonly number[];
}

/** Which chunk of which model. */
export interface ChunkOptions {
  /** The mesh. */
  readonly ctx: ModelContext;
  /** Which of the stage's chunks; 0 by default. */
  readonly chunk?: number;
  /** Layers over all stages. */
  readonly numLayers: number;
}

/** What the pipeline gives this chunk of `model`. @throws ConfigError OUT_OF_RANGE */
export function placeOf(model: string, { ctx: { pp, mesh }, chunk = 0, numLayers }: ChunkOptions): PipelinePlace {
  const numChunks = mesh.sizes.virtualPp;
  const layers = assignLayers({ numLayers, numStages: pp.size, numChunks })[pp.rank]?.[chunk];
  if (layers === undefined) {
    const sentence = `${model}: chunk ${chunk} does not exist; each stage has ${numChunks}. Use 0 to ${numChunks - 1}.`;
    throw new ConfigError('OUT_OF_RANGE', sentence, { fields: { chunk, numChunks } });
  }
  return { isFirst: pp.rank === 0 && chunk === 0, isLast: pp.rank === pp.size - 1 && chunk === numChunks - 1, layers };
}
