import { ambient } from './ambient.ts';
import { backwardWithin } from './backward.ts';
import { checksPlacements } from './check-mode.ts';
import type { OpOutput } from './define-op.ts';
import { engine } from './engine.ts';
import { upcomingSequence, Node } from './node.ts';
import { layoutOf, place } from './placements/index.ts';
import { noGrad, scope, tensorsIn } from './scope.ts';
import { type AnyTensor, Tensor } from './tensor.ts';

/**
 * `f(...inputs)` of which backward keeps the inputs alone: it runs `f` again, recorded, and goes through what that leaves. The second run
 * sees the step, the microbatch, the seed and the module call of the first, so that dropout leaves out the same elements, and collectives
 * in `f` run again in the same order on all ranks. Gradients have the bits that they have without. Other tensors that `f` reads must
 * live until backward; those that need a gradient get it.
 * @param f - gives the same values whenever it runs with the same inputs
 * @source Chen et al. 2016, section 3
 */
export function recompute<A extends readonly unknown[], O extends OpOutput>(f: (...inputs: A) => O, inputs: A): O {
  if (!ambient.recording) return f(...inputs);
  const { result, uses } = unrecorded(() => f(...inputs));
  const given = [...tensorsIn(inputs)];
  const needed = new Set([...given.filter(({ requiresGrad }) => requiresGrad), ...uses]);
  if (needed.size === 0) return result;
  const again = inSameState(() => f(...inputs));
  const isOne = result instanceof Tensor;
  const outputs = (isOne ? [result] : (result as readonly AnyTensor[])).map(viewOf);
  const node: Node = new Node(
    {
      op: 'recompute',
      inputs: [...needed],
      saved: [...new Set([...given, ...needed])],
      backward: () => {
        const first = upcomingSequence();
        const made = node.tape.run(again);
        backwardWithin(made instanceof Tensor ? [made] : (made as readonly AnyTensor[]), node.grads, first);
        return []; // what lies below has its gradients already
      },
    },
    outputs,
  );
  outputs.forEach((output, index) => output.attach(node, index));
  return (isOne ? outputs[0] : outputs) as O;
}

/** Runs `f` without recording it, and notes what it reads and needs gradients of. */
function unrecorded<T extends OpOutput>(f: () => T): { readonly result: T; readonly uses: ReadonlySet<AnyTensor> } {
  const uses = new Set<AnyTensor>();
  const outer = ambient.uses;
  ambient.uses = uses;
  try {
    return { result: noGrad(() => scope<OpOutput>(f)) as T, uses };
  } finally {
    ambient.uses = outer;
  }
}

/** `f`, recorded, with the step, the microbatch, the seed and the module call of now. */
function inSameState<T>(f: () => T): () => T {
  const { frame, step, seed, microbatch } = ambient;
  const then = { frame, step, seed, microbatch, recording: true, evaluating: false, backwardNode: undefined };
  return () => {
    const { frame, step, seed, microbatch, recording, evaluating, backwardNode } = ambient;
    Object.assign(ambient, then);
    try {
      return f();
    } finally {
      Object.assign(ambient, { frame, step, seed, microbatch, recording, evaluating, backwardNode });
    }
  };
}

/** Another view of the memory: `f` may give back what it was given. */
function viewOf(made: AnyTensor): AnyTensor {
  const { handle, numel, shape, dtype, placement } = made;
  const view: AnyTensor = new Tensor(engine.alias(handle, 0, numel), { shape, dtype, placement: placement as 'replicated' });
  return checksPlacements() ? place(view, layoutOf(made)) : view;
}
