import { describe, expect, it } from 'vitest';
import { assignLayers, microbatchPlan } from '../src/index.ts';

describe('microbatchPlan', () => {
  it('divides the global batch over ranks, then over microbatches', () => {
    const plan = microbatchPlan({ globalBatchSize: 96, microbatchSize: 4, dataParallelSize: 8 });
    expect(plan).toEqual({ numMicrobatches: 3, samplesPerRank: 12 });
  });

  it('names the nearest batches that divide', () => {
    expect(() => microbatchPlan({ globalBatchSize: 100, microbatchSize: 4, dataParallelSize: 8 })).toThrow(
      'microbatches: globalBatchSize 100 is not divisible by microbatchSize 4 x data-parallel size 8 = 32. Use 96 or 128.',
    );
    expect(() => microbatchPlan({ globalBatchSize: 3, microbatchSize: 2, dataParallelSize: 2 })).toThrow('= 4. Use 4.');
    expect(() => microbatchPlan({ globalBatchSize: 3, microbatchSize: 0, dataParallelSize: 2 })).toThrow(
      'microbatches: microbatchSize is 0. Use a whole number of at least 1.',
    );
  });
});

describe('assignLayers', () => {
  it('gives each stage a run of layers', () => {
    expect(assignLayers({ numLayers: 8, numStages: 4 })).toEqual([[[0, 1]], [[2, 3]], [[4, 5]], [[6, 7]]]);
  });

  it('deals chunks round the ranks, so that a microbatch passes all ranks once per chunk', () => {
    expect(assignLayers({ numLayers: 8, numStages: 2, numChunks: 2 })).toEqual([
      [
        [0, 1],
        [4, 5],
      ],
      [
        [2, 3],
        [6, 7],
      ],
    ]);
  });

  it('uses every layer exactly once', () => {
    for (let numStages = 1; numStages <= 6; numStages++) {
      for (let numChunks = 1; numChunks <= 4; numChunks++) {
        for (let perPlace = 1; perPlace <= 3; perPlace++) {
          const numLayers = numStages * numChunks * perPlace;
          const layers = assignLayers({ numLayers, numStages, numChunks }).flat(2);
          expect(layers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: numLayers }, (_, layer) => layer));
        }
      }
    }
  });

  it('says which counts of layers divide', () => {
    expect(() => assignLayers({ numLayers: 10, numStages: 4 })).toThrow(
      'pipeline: numLayers 10 is not divisible by pipelineModelParallelSize 4. Use 8 or 12 layers, or change a size.',
    );
    expect(() => assignLayers({ numLayers: 10, numStages: 2, numChunks: 2 })).toThrow(
      'pipeline: numLayers 10 is not divisible by pipeline 2 x virtual pipeline 2 = 4. Use 8 or 12 layers, or change a size.',
    );
    expect(() => assignLayers({ numLayers: 0, numStages: 2 })).toThrow('pipeline: numLayers is 0. Use a whole number of at least 1.');
  });
});
