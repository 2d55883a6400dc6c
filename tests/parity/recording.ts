import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { LogicalTensor } from '@megatron-ts/core';

/** What one rank holds of one parameter, or of something shaped like it. */
export interface Held {
  /** Name under which copies of one parameter are known. */
  readonly name: string;
  /** Shape of the local part. */
  readonly shape: readonly number[];
  /** Where it lies in the whole tensors. */
  readonly logical: readonly LogicalTensor[];
  readonly values: Float32Array;
}

/** What one rank saw of a run. */
export interface Recording {
  /** Parameters before the first step. */
  readonly initial: readonly Held[];
  /** Finished gradients, by step. */
  readonly gradients: ReadonlyMap<number, readonly Held[]>;
  /** Mean loss of each step. */
  readonly losses: Float64Array;
  /** Global gradient norm of each step, before clipping. */
  readonly gradNorms: Float64Array;
  /** Parameters after the last step. */
  readonly final: readonly Held[];
  /** First moments after the last step. */
  readonly means: readonly Held[];
  /** Second moments after the last step. */
  readonly squares: readonly Held[];
  /** Native bytes in use after each step. */
  readonly liveBytes: Float64Array;
  /** Native bytes in use after everything was disposed of, less those before. */
  readonly leftBytes: number;
}

/** What all ranks of a run saw, by their number in it. */
export type Run = readonly Recording[];

function fileOf(folder: string, name: string, rank: number): string {
  return join(folder, `${name}.${rank}.bin`);
}

/** Leaves a rank's recording in a folder; arrays are stored as they lie in memory. */
export function writeRecording(
  folder: string,
  { name, rank }: { readonly name: string; readonly rank: number },
  recording: Recording,
): void {
  writeFileSync(fileOf(folder, name, rank), serialize(recording));
}

/** What `size` ranks left in a folder. */
export function readRun(folder: string, { name, size }: { readonly name: string; readonly size: number }): Run {
  return Array.from({ length: size }, (_, rank) => deserialize(readFileSync(fileOf(folder, name, rank))) as Recording);
}
