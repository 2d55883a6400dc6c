import type { AskedDevice } from '@megatron-ts/launch';
import { engine } from '@megatron-ts/tensor';

// Where new tensors lie is one setting of the engine for a whole thread: hence the stays that share it are known in one place.
const stays: AskedDevice[] = [];

/**
 * Lets new tensors lie on a device until what it returns is called. Then they lie on that of the stay which began last of those that
 * have not ended, or on the CPU, in whichever order stays end. A device that cannot be opened changes nothing.
 */
export function stayOn({ kind, index }: AskedDevice): () => void {
  const stay = { kind, index }; // an object of its own: two stays may be on one device
  use(stay, innermost());
  stays.push(stay);
  return () => {
    const place = stays.indexOf(stay);
    if (place < 0) return;
    const before = innermost();
    stays.splice(place, 1);
    use(innermost(), before);
  };
}

function innermost(): AskedDevice {
  return stays.at(-1) ?? { kind: 'cpu', index: 0 };
}

function use(device: AskedDevice, before: AskedDevice): void {
  if (device.kind === before.kind && device.index === before.index) return;
  if (device.kind === 'cuda') engine.useDevice(device.index);
  else engine.useCpu();
}
