import { ConfigError } from '@megatron-ts/errors';
import { type AskedDevice, askedDevice, deviceNamed, type Environment } from '@megatron-ts/launch';

/** Where tensors live: the CPU, or a device of CUDA by its number. */
export type Device = 'cpu' | `cuda:${number}`;

/**
 * Where tensors shall live, by option or else by `MEGATRON_DEVICE`.
 * @throws ConfigError INVALID_OPTION, INVALID_VARIABLE; NOT_BUILT for several ranks on devices of CUDA, whose memory no group moves
 */
export function deviceFor(option: string | undefined, worldSize: number, env: Environment = process.env): AskedDevice {
  const device = option === undefined ? askedDevice(env) : deviceNamed(option);
  if (device === undefined)
    throw new ConfigError('INVALID_OPTION', `initializeModelParallel: device "${option}" is unknown. Use "cpu", "cuda" or "cuda:N".`);
  if (device.kind === 'cpu' || worldSize === 1) return device;
  const asked = option === undefined ? `MEGATRON_DEVICE is "${env['MEGATRON_DEVICE']?.trim()}"` : `device is "${option}"`;
  throw new ConfigError(
    'NOT_BUILT',
    `initializeModelParallel: ${asked} and there are ${worldSize} ranks, whose groups do not move memory of CUDA devices yet. Use one rank, or "cpu".`,
  );
}

/** As a context tells it. */
export function nameOfDevice({ kind, index }: AskedDevice): Device {
  return kind === 'cpu' ? 'cpu' : `cuda:${index}`;
}
