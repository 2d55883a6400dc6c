import { describe, expect, it } from 'vitest';
import { askedDevice } from '../src/asked-device.ts';

describe('MEGATRON_DEVICE', () => {
  it.each([
    [undefined, 'cpu', 0],
    ['', 'cpu', 0],
    ['cpu', 'cpu', 0],
    ['cuda', 'cuda', 0],
    ['cuda:0', 'cuda', 0],
    ['cuda:11', 'cuda', 11],
  ])('%s names a device', (value, kind, index) => {
    expect(askedDevice({ MEGATRON_DEVICE: value })).toEqual({ kind, index });
  });

  it.each(['gpu', 'cuda:', 'cuda:-1', 'cuda:1.5', 'cuda:99999', 'CUDA'])('refuses %s', (value) => {
    expect(() => askedDevice({ MEGATRON_DEVICE: value })).toThrow(
      `launch: MEGATRON_DEVICE is ${JSON.stringify(value)}. Set it to cpu, cuda or cuda:N.`,
    );
  });
});
