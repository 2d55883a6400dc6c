import { expectBitwise, expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import type { Held, Recording, Run } from './recording.ts';
import { wholeTensors } from './whole-tensors.ts';

/** A run, and the runs it is held against. */
export interface Comparison {
  readonly run: Run;
  /** One rank alone. */
  readonly alone: Run;
  /** The run whose bits it must have, where the order of sums is promised. */
  readonly sameBits?: Run | undefined;
  /** How far it may be from one rank alone where another order of sums shows; that of f32 by default. */
  readonly limits?: Limits;
}

/** Distances that rounding explains. */
export interface Limits {
  /** Of a gradient, relative to its length. */
  readonly gradient: number;
  /** Of a gradient of a norm of heads, relative to its length: few numbers, each a sum over all tokens and heads; as others by default. */
  readonly headNorm?: number;
  /** Of a gradient that is zero but for rounding, per element. */
  readonly zeroGradient: number;
  /** Of a gradient norm, relative. */
  readonly gradientNorm: number;
  /** Of a loss, relative. */
  readonly loss: number;
}

/** For numbers stored and multiplied in f32. */
export const f32Limits: Limits = { gradient: 1e-5, zeroGradient: 1e-7, gradientNorm: 1e-5, loss: 1e-5 };

/** Names of the checks. */
export type CheckName = keyof typeof checks;

const otherOrder = 'tensor parallelism splits products, and data parallelism the sum over microbatches, so sums run in another order';

/** What holds between layouts; each throws where it does not. */
export const checks = {
  /** Drawn from seed, name and global index, so the layout cannot show: bitwise. */
  initialValues({ run, alone }: Comparison): void {
    expectSameBits(
      whole(run, ({ initial }) => initial),
      whole(alone, ({ initial }) => initial),
    );
  },

  /** Close to those of one rank, bitwise where the order of sums is the same. */
  gradients({ run, alone, sameBits, limits = f32Limits }: Comparison): void {
    for (const step of alone[0]?.gradients.keys() ?? []) {
      const own = whole(run, ({ gradients }) => gradients.get(step) ?? []);
      const expected = whole(alone, ({ gradients }) => gradients.get(step) ?? []);
      expectSameNames(own, expected);
      for (const [name, gradient] of own)
        expectCloseGradient({ name, step, gradient, expected: expected.get(name) ?? new Float32Array(0), limits });
      if (sameBits === undefined) continue;
      expectSameBits(
        own,
        whole(sameBits, ({ gradients }) => gradients.get(step) ?? []),
      );
    }
  },

  /** The same bits on every rank; close to that of one rank, bitwise where gradients are. */
  gradientNorm({ run, alone, sameBits, limits = f32Limits }: Comparison): void {
    expectSameCurve(run, { alone, sameBits, limit: limits.gradientNorm, curve: ({ gradNorms }) => gradNorms });
  },

  /** Copies of parameters and moments have the same bits on all ranks that hold them; those of another run where promised. */
  replicas({ run, sameBits }: Comparison): void {
    for (const kind of ['final', 'means', 'squares'] as const) {
      const own = whole(run, (recording) => recording[kind]);
      if (sameBits !== undefined)
        expectSameBits(
          own,
          whole(sameBits, (recording) => recording[kind]),
        );
    }
  },

  /** The same bits on every rank; close to that of one rank, bitwise where gradients are. */
  lossCurve({ run, alone, sameBits, limits = f32Limits }: Comparison): void {
    expectSameCurve(run, { alone, sameBits, limit: limits.loss, curve: ({ losses }) => losses });
  },
};

/** The checks that a run does not pass, with what they said. */
export function failedChecks(comparison: Comparison): Map<CheckName, string> {
  const failed = new Map<CheckName, string>();
  for (const name of Object.keys(checks) as CheckName[]) {
    try {
      checks[name](comparison);
    } catch (error) {
      failed.set(name, (error as Error).message);
    }
  }
  return failed;
}

function whole(run: Run, pick: (recording: Recording) => readonly Held[]): Map<string, Float32Array> {
  return wholeTensors(run.map(pick));
}

function expectSameNames(own: ReadonlyMap<string, unknown>, expected: ReadonlyMap<string, unknown>): void {
  const [left, right] = [[...own.keys()].sort().join(', '), [...expected.keys()].sort().join(', ')];
  if (left !== right) throw new RangeError(`The run has ${left}; the other has ${right}.`);
}

function expectSameBits(own: ReadonlyMap<string, Float32Array>, expected: ReadonlyMap<string, Float32Array>): void {
  expectSameNames(own, expected);
  for (const [name, values] of own) named(name, () => expectBitwise(values, expected.get(name) ?? []));
}

interface GradientPair {
  readonly name: string;
  readonly step: number;
  readonly gradient: Float32Array;
  readonly expected: Float32Array;
  readonly limits: Limits;
}

function expectCloseGradient({ name, step, gradient, expected, limits }: GradientPair): void {
  const place = `gradient of ${name} at step ${step}`;
  // A key's bias shifts all scores of a query alike, and softmax does not see it: what is left is rounding.
  const isZero = name.endsWith('.qkv.bias.k');
  const because = 'the gradient is zero but for rounding';
  const limit = name.includes('.headNorm.') ? (limits.headNorm ?? limits.gradient) : limits.gradient;
  if (isZero) named(place, () => expectClose(gradient, expected, { atol: limits.zeroGradient, because }));
  else named(place, () => expectRelativeL2(gradient, expected, { limit, because: otherOrder }));
}

interface Curve extends Pick<Comparison, 'alone' | 'sameBits'> {
  readonly limit: number;
  readonly curve: (recording: Recording) => Float64Array;
}

function expectSameCurve(run: Run, { alone, sameBits, limit, curve }: Curve): void {
  const [expected] = alone.map(curve);
  const [promised] = sameBits?.map(curve) ?? [];
  const [first] = run.map(curve);
  for (const [rank, recording] of run.entries()) {
    const own = curve(recording);
    named(`rank ${rank}`, () => {
      expectBitwise(own, first ?? []);
      expectClose(own, expected ?? [], { rtol: limit, because: otherOrder });
      if (promised !== undefined) expectBitwise(own, promised);
    });
  }
}

/** Says of which numbers a comparison speaks. */
function named(what: string, compare: () => void): void {
  try {
    compare();
  } catch (error) {
    (error as Error).message = `${what}: ${(error as Error).message}`;
    throw error;
  }
}
