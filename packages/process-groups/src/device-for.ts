import { ConfigError } from '@megatron-ts/errors';
import { askedDevice, type Environment } from '@megatron-ts/launch';

/**
 * Where tensors live, by option or else by `MEGATRON_DEVICE`. CUDA devices are found and opened, but operations do not run on them yet.
 * @throws ConfigError INVALID_OPTION, INVALID_VARIABLE, NOT_BUILT
 */
export function deviceFor(option: string | undefined, env: Environment = process.env): 'cpu' {
  const asked = option ?? (askedDevice(env).kind === 'cpu' ? 'cpu' : env['MEGATRON_DEVICE']);
  if (asked === 'cpu') return asked;
  const name = option === undefined ? 'MEGATRON_DEVICE' : 'device';
  if (!/^cuda(:\d+)?$/.test(asked ?? ''))
    throw new ConfigError('INVALID_OPTION', `initializeModelParallel: ${name} "${asked}" is unknown. Use "cpu".`);
  throw new ConfigError(
    'NOT_BUILT',
    `initializeModelParallel: ${name} is "${asked}", and operations do not run on CUDA devices yet. Use "cpu"; megatron-ts doctor tells what this machine has.`,
  );
}
