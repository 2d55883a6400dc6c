import { abs, type AnyTensor, backward, mean, noGrad, scope, type Synchronous, to } from '@megatron-ts/tensor';
import type { Body } from './body.ts';
import { engineBodies } from './engine-bodies.ts';
import { gptBodies } from './gpt-bodies.ts';
import { plainBodies } from './plain-bodies.ts';
import type { OpSetting } from './settings.ts';
import { Inputs } from './values.ts';

/** Our side's operations. */
export const bodies = { ...gptBodies, ...plainBodies, ...engineBodies };
/** About how long a turn lasts, in milliseconds. */
const turnLasts = 25;

/** One row's operation with its inputs. */
export class PreparedOp {
  /** A number that tells whether both sides computed the same. */
  readonly check: number;
  private readonly inputs: Inputs;
  private readonly pass: () => void;
  private readonly repeats: number;

  /** @throws Error for an operation that has no body, or that does not take these operands */
  constructor({ op, sizes, dtype, withBackward }: OpSetting) {
    const bodyOf = bodies[op];
    if (bodyOf === undefined) throw new Error(`bench: our side has no operation "${op}".`);
    this.inputs = new Inputs(dtype, withBackward);
    const body = bodyOf(this.inputs, sizes);
    if (withBackward) {
      const differentiated = this.inputs.differentiated;
      const grads = gradsOf(body, this.inputs);
      const sweep = () => backward(tensorsOf(body()), grads);
      this.check = scope(() => {
        sweep();
        return magnitude(differentiated.flatMap(({ grad }) => (grad === undefined ? [] : [grad])));
      });
      this.pass = () =>
        scope(() => {
          sweep();
          for (const input of differentiated) input.zeroGrad();
        });
      for (const input of differentiated) input.zeroGrad();
    } else {
      this.check = unrecorded(() => valueOf(body));
      this.pass = () => unrecorded(() => void body());
    }
    this.repeats = this.calibrated();
  }

  /** Many passes. @returns microseconds of one */
  turn(): number {
    return this.timeOf(this.repeats);
  }

  /** Gives its inputs up. */
  dispose(): void {
    this.inputs.dispose();
  }

  /** How often a turn repeats the pass, by the best of tries that become longer: the first ones are cold, and others may be disturbed. */
  private calibrated(): number {
    let best = Infinity;
    for (let repeats = 1; repeats === 1 || best * repeats < turnLasts; repeats *= 2) {
      best = Math.min(best, this.timeOf(repeats) / 1000);
    }
    return Math.max(1, Math.round(turnLasts / best));
  }

  private timeOf(repeats: number): number {
    const started = performance.now();
    for (let i = 0; i < repeats; i++) this.pass();
    return ((performance.now() - started) * 1000) / repeats;
  }
}

/** A forward that records nothing, with dropout. */
export function unrecorded<T>(f: () => Synchronous<T>): T {
  return noGrad(() => scope(f));
}

/** The tensors among a body's results. */
export function tensorsOf(result: ReturnType<Body>): readonly AnyTensor[] {
  if (typeof result === 'number') return [];
  return Array.isArray(result) ? (result as readonly AnyTensor[]) : [result as AnyTensor];
}

/** Gradients of a body's results; losses have one number for all. */
export function gradsOf(body: Body, inputs: Inputs): AnyTensor[] {
  const shapes = unrecorded(() => tensorsOf(body()).map(({ shape, dtype }) => ({ shape, dtype })));
  const plain = { isDifferentiated: false };
  return shapes.map(({ shape, dtype }) => {
    const own = { ...plain, dtype: dtype === 'bf16' ? dtype : ('f32' as const) };
    return inputs.make(shape, shape.length === 1 ? { ...own, scale: 0, shift: 1 / (shape[0] ?? 1) } : own);
  });
}

function valueOf(body: Body): number {
  const result = body();
  return typeof result === 'number' ? result : magnitude(tensorsOf(result));
}

/** Sum of the mean magnitudes. */
function magnitude(tensors: readonly AnyTensor[]): number {
  return unrecorded(() => tensors.reduce((total, tensor) => total + mean(abs(to(tensor, 'f32'))).item(), 0));
}
