import type { Action } from './action.ts';
import type { StagePlacement } from './stage-placement.ts';

/** What every rank of a pipeline does in one step. Frozen. */
export interface Schedule {
  readonly name: string;
  /** Pipeline ranks. */
  readonly numRanks: number;
  /** Stages that a microbatch passes; numRanks x numChunks unless stages are held twice. */
  readonly numStages: number;
  /** Model chunks per rank. */
  readonly numChunks: number;
  readonly numMicrobatches: number;
  /** Whether there are no backward passes. */
  readonly forwardOnly: boolean;
  readonly placement: StagePlacement;
  /** The actions of each rank, in order. */
  readonly ranks: readonly (readonly Action[])[];
  /** The most activations each rank may hold at once, in units of one stage's forward pass for one microbatch. */
  readonly peakActivations: readonly number[];
}
