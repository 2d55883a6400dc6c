import { ShapeError } from '@megatron-ts/errors';
import { checksPlacements } from './check-mode.ts';
import { engine } from './engine.ts';
import { recordAll } from './node.ts';
import { placeDeclared } from './placements/index.ts';
import type { Placement } from './placement.ts';
import { noGrad, tensorsIn } from './scope.ts';
import { type AnyTensor, Tensor } from './tensor.ts';
import { where } from './where-in-model.ts';

/** What an own operation returns: one tensor or several. */
export type OpOutput = AnyTensor | readonly AnyTensor[];

/** A gradient for each argument of `A`; null where none flows. */
export type ArgumentGradients<A extends readonly unknown[]> = { readonly [K in keyof A]: AnyTensor | null };

/** Gradients of the outputs, in their form. */
export type OutputGradients<O extends OpOutput> = O extends AnyTensor ? Tensor : { readonly [K in keyof O]: Tensor };

/** What the forward of an own operation gives. */
export interface OpForward<O extends OpOutput, S> {
  /** The result. */
  readonly output: O;
  /** What backward needs of it. */
  readonly saved: S;
}

/** An operation with its own backward. */
export interface OpDefinition<A extends readonly unknown[], O extends OpOutput, S> {
  /** Name in errors. */
  readonly name: string;
  /** Computes the output, unrecorded, and says what backward needs. */
  readonly forward: (...args: A) => OpForward<O, S>;
  /** Gradients of the arguments from that of the output, unrecorded. */
  readonly backward: (grad: OutputGradients<O>, saved: S) => ArgumentGradients<A>;
  /** Weight gradients, written into `parameter.gradTarget()`; may run later than `backward`. */
  readonly backwardWeight?: (grad: OutputGradients<O>, saved: S) => void;
  /**
   * Where the output lives, given the placements of the tensor arguments, such as `(x) => x` for what works element by element. Needed only
   * for arguments that are cut over ranks or partial sums: without it, the placement checker does not know.
   */
  readonly placement?: (...placements: Placement[]) => Placement;
}

/**
 * Makes an operation of the tape out of a forward and a backward. Both run unrecorded; tensors in `saved` are held until
 * backward has run. Errors name the operation and its place in the model.
 * @throws ShapeError SHAPE_MISMATCH when backward returns another number of gradients than there are arguments
 */
export function defineOp<A extends readonly unknown[], O extends OpOutput, S>(definition: OpDefinition<A, O, S>): (...args: A) => O {
  const { name, forward, backward, backwardWeight, placement } = definition;
  return (...args: A): O => {
    const { output, saved } = noGrad(() => forward(...args));
    const inputs = args.filter((arg): arg is A[number] & AnyTensor => arg instanceof Tensor);
    const lives = placement?.(...inputs.map((input) => input.placement as Placement));
    const outputs = (output instanceof Tensor ? [output] : (output as readonly AnyTensor[])).map((made) => {
      const own = ownOutput(made, inputs, lives);
      if (checksPlacements()) placeDeclared(own, made, { op: name, inputs, words: lives });
      return own;
    });
    const gradsOf = (grads: AnyTensor[]) => (output instanceof Tensor ? grads[0] : grads) as OutputGradients<O>;
    const run = (...grads: AnyTensor[]) => {
      const found: readonly (AnyTensor | null)[] = backward(gradsOf(grads), saved);
      if (found.length !== args.length)
        throw new ShapeError(
          'SHAPE_MISMATCH',
          `${where(name)}: backward returned ${found.length} gradients for ${args.length} arguments. Return one, or null, for each.`,
        );
      return args.flatMap((arg, i) => (arg instanceof Tensor ? [found[i] ?? null] : []));
    };
    recordAll(outputs, {
      op: name,
      inputs,
      saved: [...tensorsIn(saved)],
      backward: run,
      ...(backwardWeight === undefined ? {} : { backwardWeight: (...grads: AnyTensor[]) => backwardWeight(gradsOf(grads), saved) }),
    });
    return (output instanceof Tensor ? outputs[0] : outputs) as O;
  };
}

/** An output of its own: an argument passed through, or one that lives elsewhere than forward says, becomes another view of the memory. */
function ownOutput(made: AnyTensor, inputs: readonly AnyTensor[], placement: Placement | undefined): AnyTensor {
  if (!inputs.includes(made) && (placement === undefined || placement === made.placement)) return made;
  return new Tensor(engine.alias(made.handle, 0, made.numel), {
    shape: made.shape,
    dtype: made.dtype,
    placement: placement ?? (made.placement as Placement),
  });
}
