/**
 * From tokens to this rank's microbatches. The step's samples are numbered over all ranks, and sample g of step n is drawn from (seed,
 * n, g) alone. Rank r takes a run of samples, its microbatch j the samples from r m b + j b on; so D ranks with m microbatches see
 * what one rank with D m microbatches sees, in the same order.
 */
import { ConfigError } from '@megatron-ts/errors';
import { microbatchPlan } from '@megatron-ts/mesh';
import { sampleStart } from './sample-start.ts';

/** What to sample, and for whom. */
export interface MicrobatchSamplerOptions {
  /** The text, one token per element. */
  readonly tokens: Uint8Array | Int32Array;
  /** Tokens of one sample. */
  readonly sequenceLength: number;
  /** Samples that one step sees over all ranks. */
  readonly globalBatchSize: number;
  /** Samples of one forward pass. */
  readonly microbatchSize: number;
  /** Ranks that share the samples of a step. */
  readonly dataParallelSize: number;
  /** Which of them this is. */
  readonly dataParallelRank: number;
  /** Whole number. */
  readonly seed: number;
}

/** The input of one forward pass. */
export interface Microbatch {
  /** `[s, b]`, row by row: element i b + k is token i of sample k. */
  readonly tokens: Int32Array;
  /** `[s, b]`: the token behind each of `tokens`. */
  readonly targets: Int32Array;
  /** `[s, b]`: sequence length, samples. */
  readonly shape: readonly [number, number];
  /** `[b]`: the number of each sample among all samples of the step. */
  readonly sampleIds: Int32Array;
}

/** Draws the microbatches of one data-parallel rank. Holds no state: any step may be asked for at any time, as a resumed run does. */
export class MicrobatchSampler {
  /** Microbatches of this rank in one step. */
  readonly numMicrobatches: number;
  readonly #options: MicrobatchSamplerOptions;
  /** Places at which a sample and the token behind it fit. */
  readonly #numStarts: number;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION, OUT_OF_RANGE; UNREADABLE_DATA when the tokens are too few for one sample. */
  constructor(options: MicrobatchSamplerOptions) {
    const { tokens, sequenceLength, dataParallelSize, dataParallelRank, seed } = options;
    this.numMicrobatches = microbatchPlan(options).numMicrobatches;
    requireWhole({ sequenceLength }, 1);
    requireWhole({ dataParallelRank }, 0);
    requireWhole({ seed }, Number.MIN_SAFE_INTEGER);
    if (dataParallelRank >= dataParallelSize) {
      const sentence =
        `MicrobatchSampler: dataParallelRank ${dataParallelRank} is not below dataParallelSize ${dataParallelSize}. `
        + `Use 0 to ${dataParallelSize - 1}.`;
      throw new ConfigError('OUT_OF_RANGE', sentence, { fields: { dataParallelRank, dataParallelSize } });
    }
    if (tokens.length <= sequenceLength) {
      const sentence =
        `MicrobatchSampler: ${tokens.length} tokens do not hold a sample of sequenceLength ${sequenceLength} and the token behind it. `
        + 'Use a longer text or a shorter sequenceLength.';
      throw new ConfigError('UNREADABLE_DATA', sentence, { fields: { numTokens: tokens.length, sequenceLength } });
    }
    this.#options = Object.freeze({ ...options });
    this.#numStarts = tokens.length - sequenceLength;
  }

  /**
   * The microbatches of this rank in step n, counted from 0.
   * @throws ConfigError INVALID_OPTION
   */
  step(n: number): readonly Microbatch[] {
    requireWhole({ step: n }, 0);
    const { microbatchSize, dataParallelRank } = this.#options;
    const first = dataParallelRank * this.numMicrobatches * microbatchSize;
    return Array.from({ length: this.numMicrobatches }, (_, microbatch) => this.#draw(n, first + microbatch * microbatchSize));
  }

  #draw(step: number, firstSample: number): Microbatch {
    const { tokens: text, sequenceLength: s, microbatchSize: b, seed } = this.#options;
    const tokens = new Int32Array(s * b); // [s, b]
    const targets = new Int32Array(s * b); // [s, b]
    const sampleIds = Int32Array.from({ length: b }, (_, k) => firstSample + k); // [b]
    for (const [k, globalSample] of sampleIds.entries()) {
      const start = sampleStart({ seed, step, globalSample }, this.#numStarts);
      for (let i = 0; i < s; i++) {
        tokens[i * b + k] = text[start + i] as number;
        targets[i * b + k] = text[start + i + 1] as number;
      }
    }
    return { tokens, targets, shape: [s, b], sampleIds };
  }
}

function requireWhole(named: Readonly<Record<string, number>>, least: number): void {
  for (const [name, value] of Object.entries(named)) {
    if (Number.isSafeInteger(value) && value >= least) continue;
    const wanted = least === Number.MIN_SAFE_INTEGER ? 'a whole number' : `a whole number of at least ${least}`;
    throw new ConfigError('INVALID_OPTION', `MicrobatchSampler: ${name} is ${value}. Use ${wanted}.`, { fields: named });
  }
}
