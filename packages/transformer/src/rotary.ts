import { ConfigError } from '@megatron-ts/errors';
import { constantTensor, type Tensor } from '@megatron-ts/tensor';

/** Frequencies divided by `factor` all alike. @source Chen et al. 2023, Position Interpolation */
export interface LinearRotaryScaling {
  /** Tells it from other rules. */
  readonly kind: 'linear';
  /** How many times longer sequences become. */
  readonly factor: number;
}

/** Low frequencies divided by `factor`, high ones left, those between blended. @source Llama team 2024, and the code published with it */
export interface Llama3RotaryScaling {
  /** Tells it from other rules. */
  readonly kind: 'llama3';
  /** Divides low frequencies; 8 by default. */
  readonly factor?: number;
  /** Waves longer than the original length over this are low; 1 by default. */
  readonly lowFrequencyFactor?: number;
  /** Waves shorter than the original length over this are high; 4 by default. */
  readonly highFrequencyFactor?: number;
  /** Sequence length of the first training; 8192 by default. */
  readonly originalMaxSequenceLength?: number;
}

/** As llama3 with a ramp over the number of turns, and cosines and sines made larger. @source Peng et al. 2023, sections 3.2 to 3.4 */
export interface YarnRotaryScaling {
  /** Tells it from other rules. */
  readonly kind: 'yarn';
  /** How many times longer sequences become. */
  readonly factor: number;
  /** Turns within the original length from which on a frequency is left; 32 by default. */
  readonly betaFast?: number;
  /** Turns up to which it is divided; 1 by default. */
  readonly betaSlow?: number;
  /** Sequence length of the first training; 4096 by default. */
  readonly originalMaxSequenceLength?: number;
}

/** How frequencies change for sequences longer than those of the first training. */
export type RotaryScaling = LinearRotaryScaling | Llama3RotaryScaling | YarnRotaryScaling;

/** Rotation of queries and keys by their positions. */
export interface RotaryOptions {
  /** Each pair of features turns more slowly than the one before by base^(-2 / dim); 10000 by default. */
  readonly base?: number;
  /** Share of a head's features that are turned, the first ones; 1 by default. */
  readonly fraction?: number;
  /** Whether a pair is two neighbours, not a feature of the first half and one of the second; false by default. */
  readonly interleaved?: boolean;
  /** For sequences longer than those of the first training; none by default. */
  readonly scaling?: RotaryScaling;
}

/** Angles of a rotation, computed in f64 and rounded once. @source Su et al. 2021, equation 15 */
export class RotaryAngles {
  /** Features of a head that are turned. */
  readonly dim: number;
  /** Whether a pair is two neighbours. */
  readonly interleaved: boolean;
  private readonly options: RotaryOptions;
  private rows = new Float32Array(0);

  /** @throws ConfigError INVALID_OPTION */
  constructor(headDim: number, options: RotaryOptions) {
    const { base = 10000, fraction = 1, interleaved = false, scaling } = options;
    this.dim = headDim * fraction;
    const factor = scaling?.factor ?? 8;
    if (!(base > 1)) throw invalid(`base is ${base}. Use a number above 1, such as 10000.`);
    if (!(factor >= 1)) throw invalid(`scaling.factor is ${factor}. Use a number of at least 1.`);
    if (!Number.isInteger(this.dim / 2) || this.dim < 2 || fraction > 1)
      throw invalid(`fraction ${fraction} of ${headDim} features is ${this.dim}. Choose an even number of features, from 2 to ${headDim}.`);
    this.options = options;
    this.interleaved = interleaved;
  }

  /** Cosines of all frequencies, then sines, for positions 0 to `length` - 1: `[length, dim]`. */
  table(length: number): Tensor {
    if (this.rows.length < length * this.dim) this.rows = anglesOf(length, this.dim, this.options);
    return constantTensor(this.rows.subarray(0, length * this.dim), [length, this.dim]);
  }
}

/** Angle by which each pair of features turns from one position to the next, `dim / 2` of them. */
export function rotaryFrequencies(dim: number, { base = 10000, scaling }: RotaryOptions = {}): Float64Array {
  const plain = Float64Array.from({ length: dim / 2 }, (_, i) => base ** ((-2 * i) / dim));
  if (scaling === undefined) return plain;
  if (scaling.kind === 'linear') return plain.map((frequency) => frequency / scaling.factor);
  return scaling.kind === 'llama3' ? scaledAsLlama3(plain, scaling) : scaledByYarn(plain, base, scaling);
}

function scaledAsLlama3(plain: Float64Array, scaling: Llama3RotaryScaling): Float64Array {
  const { factor = 8, lowFrequencyFactor: low = 1, highFrequencyFactor: high = 4, originalMaxSequenceLength: length = 8192 } = scaling;
  return plain.map((frequency) => {
    const waves = (length * frequency) / (2 * Math.PI); // in the original length
    const kept = Math.min(1, Math.max(0, (waves - low) / (high - low)));
    return kept * frequency + (1 - kept) * (frequency / factor);
  });
}

function scaledByYarn(plain: Float64Array, base: number, scaling: YarnRotaryScaling): Float64Array {
  const { factor, betaFast = 32, betaSlow = 1, originalMaxSequenceLength: length = 4096 } = scaling;
  const dim = 2 * plain.length;
  // The pair that makes so many turns in the original length.
  const pairOf = (turns: number) => (dim * Math.log(length / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const first = Math.max(0, Math.floor(pairOf(betaFast)));
  const last = Math.min(dim - 1, Math.ceil(pairOf(betaSlow)));
  return plain.map((frequency, pair) => {
    const divided = Math.min(1, Math.max(0, (pair - first) / Math.max(last - first, 0.001)));
    return (1 - divided) * frequency + divided * (frequency / factor);
  });
}

/** What cosines and sines are multiplied with. @source Peng et al. 2023, equation 22 */
function magnitudeOf({ scaling }: RotaryOptions): number {
  return scaling?.kind === 'yarn' ? 0.1 * Math.log(scaling.factor) + 1 : 1;
}

function anglesOf(length: number, dim: number, options: RotaryOptions): Float32Array<ArrayBuffer> {
  const frequencies = rotaryFrequencies(dim, options);
  const magnitude = magnitudeOf(options);
  const rows = new Float32Array(length * dim);
  for (let position = 0; position < length; position++)
    for (const [pair, frequency] of frequencies.entries()) {
      rows[position * dim + pair] = magnitude * Math.cos(position * frequency);
      rows[position * dim + dim / 2 + pair] = magnitude * Math.sin(position * frequency);
    }
  return rows;
}

function invalid(what: string): ConfigError {
  return new ConfigError('INVALID_OPTION', `rotary: ${what}`);
}
