import { ConfigError } from '@megatron-ts/errors';
import { describe, expect, it } from 'vitest';
import { createGeneralMesh, type MeshConfig } from '../src/general-mesh.ts';
import { createMesh, type MeshAxis, meshAxes } from '../src/index.ts';

const sizesToTry = [1, 2, 3, 4];

/** Every configuration whose sizes divide its world, for worlds of up to `maxReplicas` times the model. */
function* configurations(maxReplicas: number): Generator<Required<Omit<MeshConfig, 'ranks' | 'virtualPipelineModelParallelSize'>>> {
  for (const tensorModelParallelSize of sizesToTry) {
    for (const pipelineModelParallelSize of sizesToTry) {
      for (const contextParallelSize of [1, 2, 3]) {
        for (let dp = 1; dp <= maxReplicas; dp++) {
          for (const expertModelParallelSize of sizesToTry.filter((ep) => (dp * contextParallelSize) % ep === 0)) {
            const worldSize = tensorModelParallelSize * pipelineModelParallelSize * contextParallelSize * dp;
            yield { worldSize, tensorModelParallelSize, pipelineModelParallelSize, contextParallelSize, expertModelParallelSize };
          }
        }
      }
    }
  }
}

/** Every subset of the axes. */
function axisSets(): MeshAxis[][] {
  return Array.from({ length: 1 << meshAxes.length }, (_, bits) => meshAxes.filter((_axis, index) => (bits >> index) & 1));
}

function messageOf(build: () => unknown): string {
  try {
    build();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('createMesh', () => {
  it('numbers tensor 2 x data 2 x pipeline 2 with the tensor axis fastest and the pipeline axis slowest', () => {
    const mesh = createMesh({ worldSize: 8, tensorModelParallelSize: 2, pipelineModelParallelSize: 2 });
    expect(mesh.sizes).toEqual({ tp: 2, cp: 1, ep: 1, dp: 2, pp: 2, expertDp: 2, virtualPp: 1 });
    expect(mesh.groups('tp')).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
      [6, 7],
    ]);
    expect(mesh.groups('dp')).toEqual([
      [0, 2],
      [1, 3],
      [4, 6],
      [5, 7],
    ]);
    expect(mesh.groups('pp')).toEqual([
      [0, 4],
      [1, 5],
      [2, 6],
      [3, 7],
    ]);
    expect(mesh.groups('cp')).toEqual([[0], [1], [2], [3], [4], [5], [6], [7]]);
    expect(mesh.groups('modelParallel')).toEqual([
      [0, 1, 4, 5],
      [2, 3, 6, 7],
    ]);
    expect(mesh.groups('dpCp')).toEqual(mesh.groups('dp'));
    expect(mesh.groups('world')).toEqual([[0, 1, 2, 3, 4, 5, 6, 7]]);
    expect(mesh.coordinates(5)).toEqual({ tp: 1, cp: 0, ep: 0, dp: 0, pp: 1 });
    expect(mesh.groupOf(5, 'pp')).toEqual([1, 5]);
  });

  it('gives the groups of Megatron for 16 ranks of tensor 2 x pipeline 4', () => {
    const mesh = createMesh({ worldSize: 16, tensorModelParallelSize: 2, pipelineModelParallelSize: 4 });
    expect(mesh.groups('dp')).toEqual([
      [0, 2],
      [1, 3],
      [4, 6],
      [5, 7],
      [8, 10],
      [9, 11],
      [12, 14],
      [13, 15],
    ]);
    expect(mesh.groups('pp')).toEqual([
      [0, 4, 8, 12],
      [1, 5, 9, 13],
      [2, 6, 10, 14],
      [3, 7, 11, 15],
    ]);
    expect(mesh.embeddingGroups).toEqual([
      [0, 12],
      [1, 13],
      [2, 14],
      [3, 15],
    ]);
    expect(mesh.positionEmbeddingGroups).toEqual([[0], [1], [2], [3]]);
    expect(mesh.embeddingGroupOf(12)).toEqual([0, 12]);
    expect(mesh.embeddingGroupOf(4)).toBeUndefined();
    expect(mesh.positionEmbeddingGroupOf(12)).toBeUndefined();
  });

  it('gives an embedding group of one rank where the pipeline has one stage', () => {
    expect(createMesh({ worldSize: 2 }).embeddingGroups).toEqual([[0], [1]]);
  });

  it('covers a subset of the world and names its ranks', () => {
    const mesh = createMesh({ worldSize: 8, tensorModelParallelSize: 2, ranks: [6, 2, 3, 7] });
    expect(mesh.sizes.dp).toBe(2);
    expect(mesh.groups('tp')).toEqual([
      [6, 2],
      [3, 7],
    ]);
    expect(mesh.coordinates(7)).toEqual({ tp: 1, cp: 0, ep: 0, dp: 1, pp: 0 });
    expect(mesh.includes(0)).toBe(false);
    expect(() => mesh.coordinates(0)).toThrow('Mesh: rank 0 is not in this mesh, which covers ranks 6, 2, 3, 7. Ask for one of these.');
  });

  it('is frozen, and so are its groups', () => {
    const mesh = createMesh({ worldSize: 4, tensorModelParallelSize: 2 });
    const parts = [mesh, mesh.sizes, mesh.ranks, mesh.groups('tp'), mesh.groupOf(0, 'tp'), mesh.embeddingGroups];
    for (const part of parts) expect(Object.isFrozen(part)).toBe(true);
  });

  it('says how many ranks to launch when the sizes do not divide the world', () => {
    expect(messageOf(() => createMesh({ worldSize: 8, tensorModelParallelSize: 2, pipelineModelParallelSize: 3 }))).toBe(
      'initializeModelParallel: tensor 2 x pipeline 3 = 6 does not divide the world size 8. Launch 6 or 12 ranks, or change a size.',
    );
    expect(messageOf(() => createMesh({ worldSize: 2, tensorModelParallelSize: 4 }))).toBe(
      'initializeModelParallel: tensor 4 x pipeline 1 = 4 does not divide the world size 2. Launch 4 ranks, or change a size.',
    );
    expect(messageOf(() => createMesh({ worldSize: 8, tensorModelParallelSize: 2, ranks: [0, 1, 5] }))).toBe(
      'initializeModelParallel: tensor 2 x pipeline 1 = 2 does not divide the 3 ranks given. Give 2 or 4 ranks, or change a size.',
    );
  });

  it('refuses context and expert parallelism until they are built', () => {
    expect(messageOf(() => createMesh({ worldSize: 4, contextParallelSize: 2 }))).toBe(
      'initializeModelParallel: contextParallelSize 2 is not built yet. Use 1.',
    );
    expect(() => createMesh({ worldSize: 4, expertModelParallelSize: 2 })).toThrow(expect.objectContaining({ code: 'NOT_BUILT' }));
  });

  it('tells every broken rule in one error', () => {
    const sizes = { tensorModelParallelSize: 4, virtualPipelineModelParallelSize: 2, contextParallelSize: 2 };
    expect(messageOf(() => createMesh({ worldSize: 6, ...sizes, ranks: [0, 1, 1, 9] }))).toBe(
      'initializeModelParallel: (1) ranks holds 9, but the world has ranks 0 to 5. Give ranks of the world. '
        + '(2) ranks names rank 1 more than once. Name each rank once. '
        + '(3) tensor 4 x context 2 x pipeline 1 = 8 does not divide the 4 ranks given. Give 8 ranks, or change a size. '
        + '(4) virtualPipelineModelParallelSize 2 divides a pipeline of 1 stage. '
        + 'Use pipelineModelParallelSize of at least 2, or leave it out. '
        + '(5) contextParallelSize 2 is not built yet. Use 1.',
    );
  });

  it('refuses sizes that are not whole numbers of at least 1', () => {
    expect(messageOf(() => createMesh({ worldSize: 4, tensorModelParallelSize: 0, pipelineModelParallelSize: 1.5 }))).toBe(
      'initializeModelParallel: (1) tensorModelParallelSize is 0. Use a whole number of at least 1. '
        + '(2) pipelineModelParallelSize is 1.5. Use a whole number of at least 1.',
    );
    expect(messageOf(() => createMesh({ worldSize: Number.NaN }))).toBe(
      'initializeModelParallel: worldSize is NaN. Use a whole number of at least 1.',
    );
    expect(messageOf(() => createMesh({ worldSize: 2, ranks: [] }))).toBe(
      'initializeModelParallel: ranks is empty. Give at least one rank, or leave it out.',
    );
  });
});

describe('a mesh of any sizes', () => {
  it('puts every rank in exactly one group of every set of axes, and gives the group the product of the sizes', () => {
    for (const config of configurations(3)) {
      const mesh = createGeneralMesh(config);
      for (const axes of axisSets()) {
        if (axes.includes('cp') && axes.includes('ep') && mesh.sizes.cp > 1) continue;
        const groups = mesh.groups(axes);
        expect(groups.flat().toSorted((a, b) => a - b)).toEqual([...mesh.ranks]);
        const sizes = axes.includes('ep') ? { ...mesh.sizes, dp: mesh.sizes.expertDp } : mesh.sizes;
        const size = axes.reduce((product, axis) => product * sizes[axis], 1);
        expect(new Set(groups.map((group) => group.length))).toEqual(new Set([size]));
      }
    }
  });

  it('groups the ranks that agree on every other axis, in the order of their coordinate', () => {
    for (const config of configurations(2)) {
      const mesh = createGeneralMesh(config);
      for (const axis of ['tp', 'cp', 'dp', 'pp'] as const) {
        for (const group of mesh.groups(axis)) {
          const others = group.map((rank) => ({ ...mesh.coordinates(rank), [axis]: 0, ep: 0 }));
          expect(new Set(others.map((other) => JSON.stringify(other))).size).toBe(1);
          expect(group.map((rank) => mesh.coordinates(rank)[axis])).toEqual(group.map((_, index) => index));
        }
      }
    }
  });

  it('has the same pipelines on the expert grid as on the dense one', () => {
    for (const config of configurations(4)) {
      const mesh = createGeneralMesh(config);
      const acrossExperts = mesh.groups(['tp', 'ep', 'dp']);
      const acrossDense = mesh.groups(['tp', 'cp', 'dp']);
      expect(acrossExperts).toEqual(acrossDense);
    }
  });

  it('lets experts divide context and data together', () => {
    const mesh = createGeneralMesh({ worldSize: 8, tensorModelParallelSize: 2, contextParallelSize: 2, expertModelParallelSize: 4 });
    expect(mesh.sizes).toMatchObject({ dp: 2, expertDp: 1, ep: 4 });
    expect(mesh.groups('ep')).toEqual([
      [0, 2, 4, 6],
      [1, 3, 5, 7],
    ]);
    expect(mesh.groups('cp')).toEqual([
      [0, 2],
      [1, 3],
      [4, 6],
      [5, 7],
    ]);
    expect(mesh.groups('expertDp')).toEqual([[0], [1], [2], [3], [4], [5], [6], [7]]);
    expect(mesh.coordinates(6)).toEqual({ tp: 0, cp: 1, ep: 3, dp: 1, pp: 0 });
  });

  it('refuses experts that do not divide the ranks, and groups along both cp and ep', () => {
    expect(messageOf(() => createGeneralMesh({ worldSize: 8, tensorModelParallelSize: 2, expertModelParallelSize: 3 }))).toBe(
      'initializeModelParallel: tensor 2 x expert 3 x pipeline 1 = 6 does not divide the world size 8. '
        + 'Launch 6 or 12 ranks, or change a size.',
    );
    const both = createGeneralMesh({ worldSize: 4, contextParallelSize: 2, expertModelParallelSize: 2 });
    expect(() => both.groups(['cp', 'ep'])).toThrow(
      'Mesh.groups: the axes cp, ep hold both cp 2 and ep 2, but the expert grid has no cp axis. Ask for one of them.',
    );
  });
});
