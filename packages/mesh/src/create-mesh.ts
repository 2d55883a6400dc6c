import { createGeneralMesh, type MeshConfig, type MeshProblem } from './general-mesh.ts';
import type { Mesh } from './mesh.ts';

/**
 * The mesh of a configuration: dp is worldSize / (tensor x pipeline x context), and ranks are numbered tp-cp-ep-dp-pp, the leftmost
 * fastest.
 * @throws ConfigError with every broken rule in one sentence: INDIVISIBLE, INVALID_OPTION, OUT_OF_RANGE, CONTRADICTION, and NOT_BUILT
 *   for context and expert sizes above 1.
 */
export function createMesh(config: MeshConfig): Mesh {
  return createGeneralMesh(config, notBuilt(config));
}

function notBuilt({ contextParallelSize, expertModelParallelSize }: MeshConfig): MeshProblem[] {
  return Object.entries({ contextParallelSize, expertModelParallelSize })
    .filter(([, size]) => size !== undefined && Number.isSafeInteger(size) && size > 1)
    .map(([name, size]) => ({ code: 'NOT_BUILT', sentence: `${name} ${size} is not built yet. Use 1.` }));
}
