/**
 * The mesh: which rank works with which. Ranks stand on a grid tp x cp x dp x pp, the first axis fastest; experts divide the same
 * ranks anew as tp x ep x expertDp x pp. A mesh is frozen data and may cover a subset of the world; its groups always name world
 * ranks.
 */
import { ConfigError } from '@megatron-ts/errors';
import { combinedAxes, type MeshAxis, type MeshGroupName } from './axes.ts';
import { createGrid, type Grid, gridCoordinates, gridGroups } from './grid.ts';

/** Sizes of every axis. `dp` is world / (tp x cp x pp); `expertDp` is world / (tp x ep x pp). */
export interface MeshSizes {
  /** Tensor-parallel ranks. */
  readonly tp: number;
  /** Context-parallel ranks. */
  readonly cp: number;
  /** Expert-parallel ranks. */
  readonly ep: number;
  /** Data-parallel ranks. */
  readonly dp: number;
  /** Pipeline stages. */
  readonly pp: number;
  /** Ranks that hold the same experts. */
  readonly expertDp: number;
  /** Model chunks per pipeline rank. */
  readonly virtualPp: number;
}

/** Where a rank stands on each axis. */
export type MeshCoordinates = Readonly<Record<MeshAxis, number>>;

/** The sizes a grid is built from; what follows from them is not repeated. */
export interface GridSizes {
  readonly tp: number;
  readonly cp: number;
  readonly ep: number;
  readonly pp: number;
  readonly virtualPp: number;
}

/** Ranks on a grid, and the groups they form. Frozen; made by `createMesh`. */
export class Mesh {
  /** World ranks covered, by position on the grid. */
  readonly ranks: readonly number[];
  /** Size of each axis. */
  readonly sizes: MeshSizes;
  /** First and last stage of each pipeline, which share a tied embedding; one rank where the pipeline has one stage. */
  readonly embeddingGroups: readonly (readonly number[])[];
  /** First stage of each pipeline, which holds the position embedding. */
  readonly positionEmbeddingGroups: readonly (readonly number[])[];
  readonly #dense: Grid<'tp' | 'cp' | 'dp' | 'pp'>;
  readonly #expert: Grid<'tp' | 'ep' | 'dp' | 'pp'>;

  private constructor(ranks: readonly number[], { tp, cp, ep, pp, virtualPp }: GridSizes) {
    const dp = ranks.length / (tp * cp * pp);
    const expertDp = ranks.length / (tp * ep * pp);
    this.ranks = Object.freeze([...ranks]);
    this.sizes = Object.freeze({ tp, cp, ep, dp, pp, expertDp, virtualPp });
    this.#dense = createGrid({ tp, cp, dp, pp });
    this.#expert = createGrid({ tp, ep, dp: expertDp, pp });
    this.embeddingGroups = freezeGroups(this.groups('pp').map((stages) => [...new Set([...stages.slice(0, 1), ...stages.slice(-1)])]));
    this.positionEmbeddingGroups = freezeGroups(this.groups('pp').map((stages) => stages.slice(0, 1)));
    Object.freeze(this);
  }

  /** @internal A mesh of sizes known to divide the ranks. */
  static of(ranks: readonly number[], sizes: GridSizes): Mesh {
    return new Mesh(ranks, sizes);
  }

  /** Whether the mesh covers this world rank. */
  includes(rank: number): boolean {
    return this.ranks.includes(rank);
  }

  /**
   * Index of a world rank along each axis; `ep` is its index on the expert grid.
   * @throws ConfigError OUT_OF_RANGE for a rank the mesh does not cover.
   */
  coordinates(rank: number): MeshCoordinates {
    const position = this.#position(rank);
    return Object.freeze({ ...gridCoordinates(this.#dense, position), ep: gridCoordinates(this.#expert, position).ep });
  }

  /**
   * The groups of a name or a set of axes, as world ranks: every rank is in exactly one. The order of the axes asked for does not
   * matter. A set with `ep` is taken on the expert grid, where `dp` means the experts' data axis.
   * @throws ConfigError CONTRADICTION for a set with both `cp` and `ep` when cp is above 1, since no grid has both.
   */
  groups(of: MeshGroupName | readonly MeshAxis[]): readonly (readonly number[])[] {
    const positions = of === 'expertDp' ? gridGroups(this.#expert, ['dp']) : this.#groupsAlong(axesOf(of));
    return freezeGroups(positions.map((group) => group.map((position) => this.ranks[position] as number)));
  }

  /**
   * The one group of `of` that a world rank belongs to.
   * @throws ConfigError OUT_OF_RANGE for a rank the mesh does not cover.
   */
  groupOf(rank: number, of: MeshGroupName | readonly MeshAxis[]): readonly number[] {
    this.#position(rank);
    return this.groups(of).find((group) => group.includes(rank)) as readonly number[];
  }

  /** The embedding group of a world rank, or `undefined` for a stage between the first and the last. */
  embeddingGroupOf(rank: number): readonly number[] | undefined {
    this.#position(rank);
    return this.embeddingGroups.find((group) => group.includes(rank));
  }

  /** The position embedding group of a world rank, or `undefined` beyond the first stage. */
  positionEmbeddingGroupOf(rank: number): readonly number[] | undefined {
    this.#position(rank);
    return this.positionEmbeddingGroups.find((group) => group.includes(rank));
  }

  #groupsAlong(axes: readonly MeshAxis[]): number[][] {
    if (!axes.includes('ep')) return gridGroups(this.#dense, axes);
    if (axes.includes('cp') && this.sizes.cp > 1) {
      const sentence =
        `Mesh.groups: the axes ${axes.join(', ')} hold both cp ${this.sizes.cp} and ep ${this.sizes.ep}, `
        + 'but the expert grid has no cp axis. Ask for one of them.';
      throw new ConfigError('CONTRADICTION', sentence, { fields: { axes, sizes: this.sizes } });
    }
    return gridGroups(this.#expert, axes);
  }

  #position(rank: number): number {
    const position = this.ranks.indexOf(rank);
    if (position >= 0) return position;
    const sentence = `Mesh: rank ${rank} is not in this mesh, which covers ranks ${this.ranks.join(', ')}. Ask for one of these.`;
    throw new ConfigError('OUT_OF_RANGE', sentence, { fields: { rank, ranks: this.ranks } });
  }
}

function axesOf(of: Exclude<MeshGroupName, 'expertDp'> | readonly MeshAxis[]): readonly MeshAxis[] {
  if (typeof of !== 'string') return of;
  return of === 'dpCp' || of === 'modelParallel' || of === 'world' ? combinedAxes[of] : [of];
}

function freezeGroups(groups: readonly (readonly number[])[]): readonly (readonly number[])[] {
  return Object.freeze(groups.map((group) => Object.freeze([...group])));
}
