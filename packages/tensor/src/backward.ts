import { DTypeError, EngineError, ShapeError } from '@megatron-ts/errors';
import { ambient, type Frame } from './ambient.ts';
import { checksPlacements } from './check-mode.ts';
import type { Node } from './node.ts';
import { axpy, filled } from './ops/in-place.ts';
import { add } from './ops/binary.ts';
import { checkContribution, combined, layoutOf, place, placed, placeGradient, refusePartial } from './placements/index.ts';
import { noGrad, scope } from './scope.ts';
import { formatShape, sameShape } from './shape.ts';
import { inSpan } from './spans.ts';
import type { AnyTensor } from './tensor.ts';
import { noteUniform } from './uniform-value.ts';
import { where } from './where-in-model.ts';

/**
 * Reverse sweep from `outputs`: gradients of all leaves below them. Each node runs in a scope of its own and gives up
 * what it saved as soon as it has run.
 * @param grads - gradient of each output; 1 for scalars when left out
 * @throws ShapeError SHAPE_MISMATCH, EngineError DISPOSED for a graph that an earlier backward consumed
 */
export function backward(outputs: readonly AnyTensor[], grads: readonly AnyTensor[] = []): void {
  noGrad(() =>
    scope(() => {
      if (checksPlacements() && grads.length === 0) for (const output of outputs) refusePartial('backward', output);
      outputs.forEach((output, i) => deliver(output, grads[i] ?? seedOf(output)));
      sweep(reachable(outputs, 0));
    }),
  );
}

/** The gradient of an output with respect to itself. */
function seedOf({ shape, dtype }: AnyTensor): AnyTensor {
  const seed = filled(shape, { value: 1, dtype });
  noteUniform(seed, 1);
  return seed;
}

/**
 * The same for a part of a graph inside the backward of a node, no further than nodes from `first` on: what lies below gets its gradients
 * in the order in which it would have got them had the part been recorded with the rest.
 */
export function backwardWithin(outputs: readonly AnyTensor[], grads: readonly (AnyTensor | undefined)[], first: number): void {
  outputs.forEach((output, i) => {
    const grad = grads[i];
    if (grad !== undefined && output.requiresGrad) deliver(output, grad);
  });
  sweep(reachable(outputs, first));
}

/** Whether the weight gradients of the node whose backward is running come right after it, and do not wait for another time. */
export function weightGradientsFollow(): boolean {
  return ambient.backwardNode?.tape.deferWeightGradients !== true;
}

/** Nodes below `outputs` from number `first` on, the latest forward first. */
function reachable(outputs: readonly AnyTensor[], first: number): Node[] {
  const found = new Set<Node>();
  const stack = outputs.flatMap(({ node }) => (node === undefined ? [] : [node]));
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.sequence < first || found.has(node)) continue;
    found.add(node);
    for (const source of node.sources) if (source !== undefined && source.isLive) stack.push(source);
  }
  return [...found].sort((a, b) => b.sequence - a.sequence);
}

/** Where in the sweep an error happens. */
function here(): string {
  return where(ambient.backwardNode?.op ?? 'backward');
}

function sweep(nodes: readonly Node[]): void {
  const before = ambient.backwardNode;
  const outer = before?.frame; // a sweep inside a node's backward is inside that node's module call
  let frame = outer;
  try {
    for (const node of nodes) {
      frame = moveTo(node.frame, frame);
      ambient.backwardNode = node;
      runNode(node);
    }
    ambient.backwardNode = before;
    moveTo(outer, frame);
  } finally {
    ambient.backwardNode = before;
  }
}

/** Leaves and enters module calls on the way from one node to the next, and tells their hooks. */
function moveTo(next: Frame | undefined, last: Frame | undefined): Frame | undefined {
  if (next === last) return next;
  const inside = new Set<Frame>();
  for (let frame = next; frame !== undefined; frame = frame.parent) inside.add(frame);
  let common = last;
  for (; common !== undefined && !inside.has(common); common = common.parent) common.module.hooks.afterBackward?.(common.module);
  const entered: Frame[] = [];
  for (let frame = next; frame !== undefined && frame !== common; frame = frame.parent) entered.push(frame);
  for (const frame of entered.reverse()) frame.module.hooks.beforeBackward?.(frame.module);
  return next;
}

function runNode(node: Node): void {
  if (!node.isLive || !isReached(node)) return;
  const { backwardWeight } = node;
  scope(() => {
    const grads = arrivedOf(node);
    const begun = inSpan(
      'backward',
      () => nameOf(node),
      () => node.backward(...grads),
    );
    if (backwardWeight !== undefined && !node.tape.deferWeightGradients)
      inSpan(
        'weight gradient',
        () => nameOf(node),
        () => backwardWeight(...grads),
      );
    const inputGrads = typeof begun === 'function' ? begun() : begun;
    for (const [i, input] of node.inputs.entries()) {
      const grad = inputGrads[i];
      if (grad !== null && grad !== undefined && input.requiresGrad) deliver(input, grad, node.sources[i]);
    }
  });
  if (backwardWeight !== undefined && node.tape.deferWeightGradients) node.tape.defer(() => runWeight(node, backwardWeight));
  else finish(node);
}

function nameOf({ op, frame }: Node): string {
  return frame === undefined ? op : `${frame.module.path}: ${op}`;
}

/** Whether a gradient has arrived for one of the outputs. */
function isReached({ grads }: Node): boolean {
  for (const grad of grads) if (grad !== undefined) return true;
  return false;
}

/** The gradients of the outputs. */
function arrivedOf(node: Node): AnyTensor[] {
  const [only] = node.grads;
  if (node.grads.length === 1 && only !== undefined) return [only];
  return node.grads.map((grad, i) => grad ?? zerosFor(node, i));
}

/** The gradient of an output that nothing used. */
function zerosFor({ outputs }: Node, output: number): AnyTensor {
  const { shape, dtype } = outputs[output] ?? { shape: [], dtype: 'f32' };
  return filled(shape, { dtype });
}

function runWeight(node: Node, backwardWeight: (...grads: AnyTensor[]) => void): void {
  inSpan(
    'weight gradient',
    () => nameOf(node),
    () => noGrad(() => scope(() => backwardWeight(...arrivedOf(node)))),
  );
  finish(node);
}

function finish(node: Node): void {
  node.free();
  for (const { asParameter } of node.inputs) if (asParameter !== undefined) node.tape.finishUse(asParameter);
}

/** A graph of which a part is gone must not give part of a gradient. */
function refuseConsumed(source: Node): void {
  if (source.isLive) return;
  throw new EngineError(
    'DISPOSED',
    `${here()}: the graph below it, made by ${source.op}, was consumed by an earlier backward or dropped with its scope. Call backward once, on the sum of the losses, or detach() what should not be differentiated.`,
  );
}

/** Adds a gradient to what has arrived for `tensor`; a leaf keeps it. */
function deliver(tensor: AnyTensor, grad: AnyTensor, source = tensor.node): void {
  if (!sameShape(tensor.shape, grad.shape))
    throw new ShapeError(
      'SHAPE_MISMATCH',
      `${here()}: a gradient of shape ${formatShape(grad.shape)} for a tensor of shape ${formatShape(tensor.shape)}. Return gradients of the shape of each argument.`,
    );
  if (checksPlacements()) {
    placeGradient(tensor, grad, source === undefined);
    if (tensor.asParameter !== undefined) checkContribution(tensor.asParameter, layoutOf(grad));
  }
  if (tensor.asParameter !== undefined) {
    tensor.asParameter.accumulateGrad(grad);
    return;
  }
  if (grad.dtype !== tensor.dtype)
    throw new DTypeError(
      'DTYPE_MISMATCH',
      `${here()}: a gradient of ${grad.dtype}${formatShape(grad.shape)} for a tensor of ${tensor.dtype}. Convert the gradient with to('${tensor.dtype}').`,
    );
  if (source === undefined) {
    if (tensor.requiresGrad) tensor.accumulateGrad(grad);
  } else {
    refuseConsumed(source);
    addTo(source, tensor.outputIndex, grad);
  }
}

function addTo(node: Node, output: number, grad: AnyTensor): void {
  const arrived = node.grads[output];
  if (arrived === undefined) node.grads[output] = grad.retain();
  else if (node.ownsGrad[output] === true) {
    axpy(arrived, 1, grad);
    if (checksPlacements()) place(arrived, combined('add', grad.shape, { addends: [placed(arrived), placed(grad)] }).layout);
  } else {
    node.grads[output] = add(arrived, grad).retain();
    node.ownsGrad[output] = true;
    arrived.release();
  }
}
