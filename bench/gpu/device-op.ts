import { type AnyTensor, backward, engine, flushReleases, scope, tensor, to } from '@megatron-ts/tensor';
import { bodies as timed, gradsOf, tensorsOf, unrecorded } from '../ops/prepared-op.ts';
import type { OperandDType } from '../ops/settings.ts';
import { Inputs } from '../ops/values.ts';
import { moreBodies } from './more-bodies.ts';

const bodies = { ...timed, ...moreBodies };

/** An operation, as both sides are told it. */
export interface DeviceOpSetting {
  /** Its name in the tables of both sides. */
  readonly op: string;
  /** Extents of its inputs. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Element type of its operands. */
  readonly dtype: OperandDType;
  /** Whether the gradients of all inputs are computed too. */
  readonly withBackward: boolean;
}

/** About how long a turn lasts, in milliseconds. */
const turnLasts = 40;

/** An operation with its inputs, which lie where the engine puts new tensors: on the CPU or on a device. */
export class DeviceOp {
  private readonly inputs: Inputs;
  private readonly pass: () => readonly (AnyTensor | number)[];
  private readonly mark = tensor([0]);
  private repeats = 1;

  /** @throws Error for an operation that has no body, or that does not take these operands */
  constructor({ op, sizes, dtype, withBackward }: DeviceOpSetting) {
    const bodyOf = bodies[op];
    if (bodyOf === undefined) throw new Error(`gpu-pack: our side has no operation "${op}".`);
    this.inputs = new Inputs(dtype, withBackward);
    const body = bodyOf(this.inputs, sizes);
    const results = () => {
      const made = body();
      return typeof made === 'number' ? [made] : tensorsOf(made);
    };
    if (!withBackward) {
      this.pass = () => unrecorded(results);
      return;
    }
    const { differentiated } = this.inputs;
    const grads = gradsOf(body, this.inputs);
    this.pass = () => {
      const outputs = tensorsOf(body());
      backward(outputs, grads);
      return [...outputs, ...differentiated.flatMap(({ grad }) => (grad === undefined ? [] : [grad]))];
    };
  }

  /** The values of its results, and then of the gradients of its inputs, one after the other. */
  values(): Float32Array[] {
    const arrays = scope(() => {
      const results = this.pass();
      return results.map((result) => (typeof result === 'number' ? Float32Array.of(result) : floats(result)));
    }) as unknown as Float32Array[];
    this.clear();
    return arrays;
  }

  /** Runs it once and waits until it is done. */
  once(): void {
    this.run(1);
  }

  /** Chooses how often a turn repeats it. */
  calibrate(): void {
    for (let i = 0; i < 3; i++) this.run(1);
    this.repeats = Math.max(1, Math.round((turnLasts * 1000) / this.run(3)));
  }

  /** Many passes. @returns microseconds of one */
  turn(): number {
    return this.run(this.repeats);
  }

  /** Gives its inputs up. */
  dispose(): void {
    this.inputs.dispose();
    this.mark.dispose();
    flushReleases();
  }

  /** Passes, and a value written after them and read: whoever has read it knows that the device has done all. */
  private run(repeats: number): number {
    const started = performance.now();
    for (let i = 0; i < repeats; i++) {
      scope(() => void this.pass());
      this.clear();
    }
    engine.fill(this.mark.handle, repeats);
    if (this.mark.item() !== repeats) throw new Error('gpu-pack: the device has not written what it was told last.');
    return ((performance.now() - started) * 1000) / repeats;
  }

  private clear(): void {
    for (const input of this.inputs.differentiated) input.zeroGrad();
  }
}

function floats(x: AnyTensor): Float32Array {
  const { dtype } = x;
  return Float32Array.from((dtype === 'bf16' || dtype === 'f32' ? x : to(x, 'f32')).toArray() as Float32Array);
}
