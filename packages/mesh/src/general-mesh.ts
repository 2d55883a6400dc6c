/** A mesh of any sizes: the rules that hold for every size, apart from what the rest of the library can already run. */
import { ConfigError, type ConfigErrorCode } from '@megatron-ts/errors';
import { Mesh } from './mesh.ts';
import { nearestMultiples } from './nearest-multiples.ts';
import { positiveIntegerProblems } from './positive-integers.ts';

/** How many ways the ranks are divided. Sizes left out are 1. */
export interface MeshConfig {
  /** Number of ranks launched. */
  readonly worldSize: number;
  /** Ranks that share each layer's matrices. */
  readonly tensorModelParallelSize?: number | undefined;
  /** Stages. */
  readonly pipelineModelParallelSize?: number | undefined;
  /** Model chunks per pipeline rank; more than 1 needs a pipeline of at least 2. */
  readonly virtualPipelineModelParallelSize?: number | undefined;
  /** Ranks that share each sequence. */
  readonly contextParallelSize?: number | undefined;
  /** Ranks that share the experts. */
  readonly expertModelParallelSize?: number | undefined;
  /** World ranks the mesh covers, in grid order; all of the world when left out. */
  readonly ranks?: readonly number[] | undefined;
}

/** A rule that a configuration breaks. */
export interface MeshProblem {
  readonly code: ConfigErrorCode;
  /** What is wrong, and what to change. */
  readonly sentence: string;
}

/** A configuration with every default filled in. */
type FullConfig = { readonly [Key in keyof MeshConfig]-?: Exclude<MeshConfig[Key], undefined> };

/**
 * The mesh of any sizes.
 * @param refused rules of the caller's own, told in the same error.
 * @throws ConfigError with every broken rule in one sentence; its code is that of the first.
 */
export function createGeneralMesh(config: MeshConfig, refused: readonly MeshProblem[] = []): Mesh {
  const full = withDefaults(config);
  const problems = [...sizeProblems(full), ...refused];
  const [first] = problems;
  if (first !== undefined) {
    const list = problems.length === 1 ? first.sentence : problems.map(({ sentence }, index) => `(${index + 1}) ${sentence}`).join(' ');
    throw new ConfigError(first.code, `initializeModelParallel: ${list}`, { fields: { ...config, problems } });
  }
  return Mesh.of(full.ranks, {
    tp: full.tensorModelParallelSize,
    cp: full.contextParallelSize,
    ep: full.expertModelParallelSize,
    pp: full.pipelineModelParallelSize,
    virtualPp: full.virtualPipelineModelParallelSize,
  });
}

function withDefaults(config: MeshConfig): FullConfig {
  const whole = Number.isSafeInteger(config.worldSize) && config.worldSize > 0 ? config.worldSize : 0;
  return {
    worldSize: config.worldSize,
    tensorModelParallelSize: config.tensorModelParallelSize ?? 1,
    pipelineModelParallelSize: config.pipelineModelParallelSize ?? 1,
    virtualPipelineModelParallelSize: config.virtualPipelineModelParallelSize ?? 1,
    contextParallelSize: config.contextParallelSize ?? 1,
    expertModelParallelSize: config.expertModelParallelSize ?? 1,
    ranks: config.ranks ?? Array.from({ length: whole }, (_, rank) => rank),
  };
}

function sizeProblems(config: FullConfig): MeshProblem[] {
  const { ranks: _ranks, ...sizes } = config;
  // Whether sizes divide can only be asked of sizes that are numbers.
  const notWhole = positiveIntegerProblems(sizes);
  if (notWhole.length > 0) return notWhole.map((sentence) => ({ code: 'INVALID_OPTION', sentence }));
  return [...ranksProblems(config), ...divisionProblems(config), ...virtualProblems(config)];
}

function ranksProblems({ ranks, worldSize }: FullConfig): MeshProblem[] {
  const problems: MeshProblem[] = [];
  if (ranks.length === 0) problems.push({ code: 'EMPTY_WORLD', sentence: 'ranks is empty. Give at least one rank, or leave it out.' });
  const outside = ranks.filter((rank) => !Number.isSafeInteger(rank) || rank < 0 || rank >= worldSize);
  if (outside.length > 0) {
    const sentence = `ranks holds ${outside.join(', ')}, but the world has ranks 0 to ${worldSize - 1}. Give ranks of the world.`;
    problems.push({ code: 'OUT_OF_RANGE', sentence });
  }
  const twice = [...new Set(ranks.filter((rank, index) => ranks.indexOf(rank) !== index))];
  if (twice.length > 0) {
    problems.push({ code: 'CONTRADICTION', sentence: `ranks names rank ${twice.join(', ')} more than once. Name each rank once.` });
  }
  return problems;
}

function divisionProblems(config: FullConfig): MeshProblem[] {
  const {
    tensorModelParallelSize: tp,
    pipelineModelParallelSize: pp,
    contextParallelSize: cp,
    expertModelParallelSize: ep,
    ranks,
    worldSize,
  } = config;
  const numRanks = ranks.length;
  if (numRanks === 0) return [];
  const whole = numRanks === worldSize ? { is: `world size ${numRanks}`, verb: 'Launch' } : { is: `${numRanks} ranks given`, verb: 'Give' };
  const product = (sizes: Record<string, number>): [string, number] => {
    const total = Object.values(sizes).reduce((all, size) => all * size, 1);
    const factors = Object.entries(sizes).map(([name, size]) => `${name} ${size}`);
    return [`${factors.join(' x ')} = ${total}`, total];
  };
  const problem = ([words, total]: [string, number]): MeshProblem => ({
    code: 'INDIVISIBLE',
    sentence: `${words} does not divide the ${whole.is}. ${whole.verb} ${nearestMultiples(numRanks, total)} ranks, or change a size.`,
  });
  const dense = product({ tensor: tp, ...(cp > 1 ? { context: cp } : {}), pipeline: pp });
  const expert = product({ tensor: tp, expert: ep, pipeline: pp });
  if (numRanks % dense[1] !== 0) return [problem(dense)];
  return numRanks % expert[1] !== 0 ? [problem(expert)] : [];
}

function virtualProblems({ virtualPipelineModelParallelSize: virtual, pipelineModelParallelSize: pipeline }: FullConfig): MeshProblem[] {
  if (virtual === 1 || pipeline > 1) return [];
  const sentence =
    `virtualPipelineModelParallelSize ${virtual} divides a pipeline of 1 stage. `
    + 'Use pipelineModelParallelSize of at least 2, or leave it out.';
  return [{ code: 'CONTRADICTION', sentence }];
}
