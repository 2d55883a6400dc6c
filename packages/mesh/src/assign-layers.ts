import { ConfigError } from '@megatron-ts/errors';
import { nearestMultiples } from './nearest-multiples.ts';
import { positiveIntegerProblems } from './positive-integers.ts';

/** Layers to spread over a pipeline. */
export interface LayerAssignment {
  /** Layers of the whole model. */
  readonly numLayers: number;
  /** Pipeline ranks. */
  readonly numStages: number;
  /** Model chunks per pipeline rank; 1 when left out. */
  readonly numChunks?: number | undefined;
}

/**
 * Spreads layers evenly: `assignLayers(...)[rank][chunk]` lists the global layer indices there. Chunk c of rank r begins at layer
 * c (L / C) + r (L / C / P), so a microbatch passes all ranks once per chunk.
 * @throws ConfigError INDIVISIBLE, INVALID_OPTION
 * @source Megatron-LM, `transformer_layer.py`, interleaved layer offsets.
 */
export function assignLayers({ numLayers, numStages, numChunks = 1 }: LayerAssignment): readonly (readonly (readonly number[])[])[] {
  const fields = { numLayers, numStages, numChunks };
  const problems = positiveIntegerProblems(fields);
  if (problems.length > 0) throw new ConfigError('INVALID_OPTION', `pipeline: ${problems.join(' ')}`, { fields });
  const numPlaces = numStages * numChunks;
  if (numLayers % numPlaces !== 0) {
    const chunked = `pipeline ${numStages} x virtual pipeline ${numChunks} = ${numPlaces}`;
    const places = numChunks === 1 ? `pipelineModelParallelSize ${numStages}` : chunked;
    const remedy = `Use ${nearestMultiples(numLayers, numPlaces)} layers, or change a size.`;
    const sentence = `pipeline: numLayers ${numLayers} is not divisible by ${places}. ${remedy}`;
    throw new ConfigError('INDIVISIBLE', sentence, { fields });
  }
  const perPlace = numLayers / numPlaces;
  const layersFrom = (first: number): readonly number[] => Object.freeze(Array.from({ length: perPlace }, (_, layer) => first + layer));
  const chunksOf = (rank: number): readonly (readonly number[])[] =>
    Object.freeze(Array.from({ length: numChunks }, (_, chunk) => layersFrom((chunk * numStages + rank) * perPlace)));
  return Object.freeze(Array.from({ length: numStages }, (_, rank) => chunksOf(rank)));
}
