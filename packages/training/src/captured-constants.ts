import { alias, type AnyTensor, keep, sameShape, scope, tensor } from '@megatron-ts/tensor';

type Data = Float32Array | Int32Array;

interface Constant {
  readonly data: Data;
  readonly shape: readonly number[];
  readonly memory: AnyTensor;
}

/** Numbers that a step copies from the host each time, and that are always the same: made in the steps before the one that is captured. */
export class CapturedConstants {
  private readonly made: Constant[] = [];

  /** A tensor of the running scope in the memory that holds these numbers. */
  find(data: Data, shape: readonly number[]): AnyTensor | undefined {
    const found = this.made.find((constant) => sameShape(constant.shape, shape) && isSame(constant.data, data));
    return found === undefined ? undefined : alias(found.memory, shape);
  }

  /** The same, with memory that is new. */
  make(data: Data, shape: readonly number[]): AnyTensor {
    scope(() => {
      const memory = keep(tensor(data, shape));
      this.made.push({ data: data.slice(), shape: [...shape], memory });
    });
    return alias((this.made.at(-1) as Constant).memory, shape);
  }

  /** Releases the memory. */
  dispose(): void {
    for (const { memory } of this.made) memory.dispose();
    this.made.length = 0;
  }
}

function isSame(a: Data, b: Data): boolean {
  return a.constructor === b.constructor && a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
}
