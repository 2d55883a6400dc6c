import { engine } from '@megatron-ts/tensor';

/**
 * Runs `f` with new tensors on the CPU, also in a context on a device: what ranks tell each other beside the data (requests to stop,
 * errors, names) is made and read by the host, and would only make it wait for the device.
 */
export function onHost<T>(f: () => T): T {
  const device = engine.currentDevice();
  if (device === null) return f();
  engine.useCpu();
  try {
    return f();
  } finally {
    engine.useDevice(device.index);
  }
}
