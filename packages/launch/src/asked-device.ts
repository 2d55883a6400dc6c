import { ConfigError } from '@megatron-ts/errors';
import { type Environment, textOf } from './whole-number.ts';

/** Where tensors shall live. */
export interface AskedDevice {
  /** The CPU, or a device of CUDA. */
  readonly kind: 'cpu' | 'cuda';
  /** Number of the device; 0 for the CPU. */
  readonly index: number;
}

/** The device that is called `cpu`, `cuda` (the first) or `cuda:N`; undefined when `text` is no such name. */
export function deviceNamed(text: string): AskedDevice | undefined {
  if (text === 'cpu') return { kind: 'cpu', index: 0 };
  const found = /^cuda(?::(\d{1,4}))?$/.exec(text);
  return found === null ? undefined : { kind: 'cuda', index: Number(found[1] ?? 0) };
}

/** The device of `MEGATRON_DEVICE`: `cpu` (also when it is not set), `cuda`, or `cuda:N`. @throws ConfigError INVALID_VARIABLE */
export function askedDevice(env: Environment = process.env): AskedDevice {
  const text = textOf(env, 'MEGATRON_DEVICE') ?? 'cpu';
  const device = deviceNamed(text);
  if (device !== undefined) return device;
  throw new ConfigError('INVALID_VARIABLE', `launch: MEGATRON_DEVICE is ${JSON.stringify(text)}. Set it to cpu, cuda or cuda:N.`, {
    fields: { variable: 'MEGATRON_DEVICE', value: text },
  });
}
