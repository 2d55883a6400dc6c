/**
 * Which rank and chunk holds which stage, as data. A route is the way of a microbatch through all stages; one route is enough for
 * every schedule in which each stage has one owner, two for a bidirectional one, where each stage is held twice. Microbatch m takes
 * route m modulo the number of routes.
 */

/** A place for a stage: a model chunk of a pipeline rank. */
export interface Seat {
  /** Pipeline rank. */
  readonly rank: number;
  /** Model chunk of that rank. */
  readonly chunk: number;
}

/** For each route, the seat of each stage. */
export interface StagePlacement {
  /** By route and stage. */
  readonly routes: readonly (readonly Seat[])[];
}

/** Rank r holds stage r: GPipe, 1F1B, zero bubble H1 and H2. */
export function linearPlacement(numRanks: number): StagePlacement {
  return interleavedPlacement(numRanks, 1);
}

/** Chunk c of rank r holds stage c x numRanks + r: interleaved 1F1B. */
export function interleavedPlacement(numRanks: number, numChunks: number): StagePlacement {
  const numStages = numRanks * numChunks;
  return freezePlacement([
    Array.from({ length: numStages }, (_, stage) => ({ rank: stage % numRanks, chunk: Math.floor(stage / numRanks) })),
  ]);
}

/** Rank r holds stages r and 2 numRanks - 1 - r, so that the last rank turns round: ZBV, V-half, V-min, DualPipeV. */
export function turningPlacement(numRanks: number): StagePlacement {
  const there = Array.from({ length: numRanks }, (_, rank) => ({ rank, chunk: 0 }));
  const back = there.map(({ rank }) => ({ rank: numRanks - 1 - rank, chunk: 1 }));
  return freezePlacement([[...there, ...back]]);
}

/**
 * Even microbatches go from rank 0 to the last through chunks 0, odd ones back through chunks 1, so each stage is held by two ranks:
 * DualPipe.
 */
export function bidirectionalPlacement(numRanks: number): StagePlacement {
  const there = Array.from({ length: numRanks }, (_, rank) => ({ rank, chunk: 0 }));
  return freezePlacement([there, there.map(({ rank }) => ({ rank: numRanks - 1 - rank, chunk: 1 }))]);
}

/** The route of a microbatch: the seat of each stage. */
export function routeOf({ routes }: StagePlacement, microbatch: number): readonly Seat[] {
  return routes[microbatch % routes.length] ?? [];
}

/** The stage that a microbatch meets in a chunk of a rank, or -1 when its route does not pass there. */
export function stageAt(placement: StagePlacement, { rank, chunk }: Seat, microbatch: number): number {
  return routeOf(placement, microbatch).findIndex((seat) => seat.rank === rank && seat.chunk === chunk);
}

/** The stage of each chunk of a rank, by chunk: what the rank must build. */
export function stagesOfRank({ routes }: StagePlacement, rank: number): readonly number[] {
  const stages: number[] = [];
  for (const route of routes) {
    for (const [stage, seat] of route.entries()) if (seat.rank === rank) stages[seat.chunk] = stage;
  }
  return stages;
}

function freezePlacement(routes: readonly (readonly Seat[])[]): StagePlacement {
  return Object.freeze({ routes: Object.freeze(routes.map((route) => Object.freeze(route.map((seat) => Object.freeze(seat))))) });
}
