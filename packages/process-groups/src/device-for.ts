import { ConfigError } from '@megatron-ts/errors';
import { askedDevice, deviceNamed, type Environment } from '@megatron-ts/launch';

/**
 * Where tensors live, by option or else by `MEGATRON_DEVICE`. CUDA devices are found and opened, but operations do not run on them yet.
 * @throws ConfigError INVALID_OPTION, INVALID_VARIABLE, NOT_BUILT
 */
export function deviceFor(option: string | undefined, env: Environment = process.env): 'cpu' {
  const device = option === undefined ? askedDevice(env) : deviceNamed(option);
  if (device?.kind === 'cpu') return 'cpu';
  if (device === undefined) throw new ConfigError('INVALID_OPTION', `initializeModelParallel: device "${option}" is unknown. Use "cpu".`);
  const asked = option === undefined ? `MEGATRON_DEVICE is "${env['MEGATRON_DEVICE']?.trim()}"` : `device is "${option}"`;
  throw new ConfigError(
    'NOT_BUILT',
    `initializeModelParallel: ${asked}, and operations do not run on CUDA devices yet. Use "cpu"; megatron-ts doctor tells what this machine has.`,
  );
}
