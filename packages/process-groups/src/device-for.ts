import { ConfigError } from '@megatron-ts/errors';
import { type AskedDevice, askedDevice, deviceNamed, type Environment } from '@megatron-ts/launch';

/** Where tensors live: the CPU, or a device of CUDA by its number. */
export type Device = 'cpu' | `cuda:${number}`;

/** What the choice of a device depends on beside its name. */
export interface DeviceSetting {
  /** This rank's number on its host. */
  readonly localRank: number;
  /** Ranks of the world. */
  readonly worldSize: number;
  /** Whether the rank is played alone, by backend `fake`. */
  readonly isPlayed: boolean;
  /** How many devices this process sees. */
  readonly visible: () => number;
}

/**
 * Where tensors shall live, by option or else by `MEGATRON_DEVICE`. Of several ranks on a host that ask for `cuda` each takes the next one
 * of those that it sees, from the first again when there are fewer.
 * @throws ConfigError INVALID_OPTION, INVALID_VARIABLE; CONTRADICTION for ranks of a world that are played
 * @throws EngineError ENGINE_REFUSED where several ranks ask for `cuda` and there is none
 */
export function deviceFor(option: string | undefined, setting: DeviceSetting, env: Environment = process.env): AskedDevice {
  const { localRank, worldSize, isPlayed, visible } = setting;
  const device = option === undefined ? askedDevice(env) : deviceNamed(option);
  if (device === undefined)
    throw new ConfigError('INVALID_OPTION', `initializeModelParallel: device "${option}" is unknown. Use "cpu", "cuda" or "cuda:N".`);
  if (device.kind === 'cpu' || worldSize === 1) return device;
  const name = option ?? env['MEGATRON_DEVICE']?.trim();
  if (isPlayed)
    throw new ConfigError(
      'CONTRADICTION',
      `initializeModelParallel: ${option === undefined ? 'MEGATRON_DEVICE' : 'device'} is "${name}", and backend fake plays ranks on the CPU. Use "cpu".`,
    );
  return name === 'cuda' ? { ...device, index: localRank % visible() } : device;
}

/** As a context tells it. */
export function nameOfDevice({ kind, index }: AskedDevice): Device {
  return kind === 'cpu' ? 'cpu' : `cuda:${index}`;
}
