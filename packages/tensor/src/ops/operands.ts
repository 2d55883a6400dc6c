import { DTypeError } from '@megatron-ts/errors';
import { isFloating } from '../dtype.ts';
import { layoutWords } from '../layout-words.ts';
import { broadcastStrides, formatShape, sameShape, type Shape } from '../shape.ts';
import type { AnyTensor } from '../tensor.ts';
import { where } from '../where-in-model.ts';

const dense = new Uint32Array(0);

/** What the engine is told of an element-wise operation: nothing for equal shapes, else the result's shape and each operand's strides. */
export function elementLayout(op: string, target: Shape, operands: readonly Shape[]): Uint32Array {
  if (operands.every((shape) => sameShape(shape, target))) return dense;
  return layoutWords(op, [target.length, ...target, ...operands.flatMap((shape) => broadcastStrides(shape, target))]);
}

/** @throws DTypeError DTYPE_MISMATCH */
export function requireSameDType(op: string, a: AnyTensor, b: AnyTensor): void {
  if (a.dtype === b.dtype) return;
  throw new DTypeError(
    'DTYPE_MISMATCH',
    `${where(op)}: operands are ${a.dtype}${formatShape(a.shape)} and ${b.dtype}${formatShape(b.shape)}. Convert one of them with to('${isFloating(a.dtype) ? a.dtype : b.dtype}').`,
  );
}

/** Holds operands, given by their names, against the dtypes an operation takes. @throws DTypeError UNSUPPORTED_DTYPE */
export function requireDType(op: string, operands: Readonly<Record<string, AnyTensor>>, ...allowed: readonly AnyTensor['dtype'][]): void {
  for (const name in operands) {
    const operand = operands[name];
    if (operand !== undefined && !allowed.includes(operand.dtype)) throw wrongDType(op, name, { operand, allowed });
  }
}

/**
 * Holds the operands of an operation of layers against what it computes on: streams (activations) all f32 or all bf16, and weights each
 * f32 or bf16. Results have the dtype of the streams.
 * @throws DTypeError UNSUPPORTED_DTYPE, DTYPE_MISMATCH
 */
export function requireStreams(
  op: string,
  streams: Readonly<Record<string, AnyTensor>>,
  weights: Readonly<Record<string, AnyTensor>> = {},
): void {
  requireDType(op, streams, 'f32', 'bf16');
  requireDType(op, weights, 'f32', 'bf16');
  let first = '';
  for (const name in streams) {
    if (first === '') first = name;
    else if (streams[name]?.dtype !== streams[first]?.dtype) throw mixed(op, streams, [first, name]);
  }
}

function mixed(op: string, operands: Readonly<Record<string, AnyTensor>>, [first, second]: readonly [string, string]): DTypeError {
  const text = (name: string) => `${name} is ${operands[name]?.dtype}${formatShape(operands[name]?.shape ?? [])}`;
  const remedy = `Convert one of them with to('${operands[first]?.dtype}').`;
  return new DTypeError('DTYPE_MISMATCH', `${where(op)}: ${text(first)} and ${text(second)}. ${remedy}`);
}

interface WrongDType {
  readonly operand: AnyTensor;
  readonly allowed: readonly AnyTensor['dtype'][];
}

function wrongDType(op: string, name: string, { operand: { dtype, shape }, allowed }: WrongDType): DTypeError {
  const remedy = `Convert it with to('${allowed[0] ?? 'f32'}').`;
  return new DTypeError(
    'UNSUPPORTED_DTYPE',
    `${where(op)}: ${name} is ${dtype}${formatShape(shape)}, not ${allowed.join(' or ')}. ${remedy}`,
  );
}
