import type { AnyTensor } from '@megatron-ts/tensor';
import type { Inputs } from './values.ts';

/** One row's operation over inputs that are already made: what a turn repeats. */
export type Body = () => AnyTensor | readonly AnyTensor[] | number;

/** Makes the inputs of an operation and binds it to them. */
export type BodyOf = (inputs: Inputs, sizes: Readonly<Record<string, number>>) => Body;
