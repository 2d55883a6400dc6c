import { ConfigError } from '@megatron-ts/errors';
import { type Environment, textOf } from './whole-number.ts';

/** Where tensors shall live. */
export interface AskedDevice {
  /** The CPU, or a device of CUDA. */
  readonly kind: 'cpu' | 'cuda';
  /** Number of the device; 0 for the CPU. */
  readonly index: number;
}

/** The device of `MEGATRON_DEVICE`: `cpu` (also when it is not set), `cuda`, or `cuda:N`. @throws ConfigError INVALID_VARIABLE */
export function askedDevice(env: Environment = process.env): AskedDevice {
  const text = textOf(env, 'MEGATRON_DEVICE') ?? 'cpu';
  if (text === 'cpu') return { kind: 'cpu', index: 0 };
  const [, index] = /^cuda(?::(\d{1,4}))?$/.exec(text) ?? [undefined, null];
  if (index !== null) return { kind: 'cuda', index: Number(index ?? 0) };
  throw new ConfigError('INVALID_VARIABLE', `launch: MEGATRON_DEVICE is ${JSON.stringify(text)}. Set it to cpu, cuda or cuda:N.`, {
    fields: { variable: 'MEGATRON_DEVICE', value: text },
  });
}
