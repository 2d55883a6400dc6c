import type { Action } from './action.ts';
import type { StagePlacement } from './stage-placement.ts';

/** What every rank of a pipeline does in one step. Frozen. */
export interface Schedule {
  /** What errors and pictures call it. */
  readonly name: string;
  /** Pipeline ranks. */
  readonly numRanks: number;
  /** Stages that a microbatch passes; numRanks x numChunks unless stages are held twice. */
  readonly numStages: number;
  /** Model chunks per rank. */
  readonly numChunks: number;
  /** Microbatches of one step. */
  readonly numMicrobatches: number;
  /** Whether there are no backward passes. */
  readonly forwardOnly: boolean;
  /** Which rank and chunk holds which stage. */
  readonly placement: StagePlacement;
  /** The actions of each rank, in order. */
  readonly ranks: readonly (readonly Action[])[];
  /** The most activations each rank may hold at once, in units of one stage's forward pass for one microbatch. */
  readonly peakActivations: readonly number[];
}
