import { describe, expect, it } from 'vitest';
import { deviceFor } from '../src/device-for.ts';

describe('the device', () => {
  it('is the CPU, by option, by MEGATRON_DEVICE, or when nothing is said', () => {
    expect([deviceFor(undefined, {}), deviceFor(undefined, { MEGATRON_DEVICE: 'cpu' }), deviceFor('cpu', {})]).toEqual([
      'cpu',
      'cpu',
      'cpu',
    ]);
    expect(deviceFor('cpu', { MEGATRON_DEVICE: 'cuda' })).toBe('cpu');
  });

  it('cannot be one of CUDA yet, and the sentence says so', () => {
    expect(() => deviceFor(undefined, { MEGATRON_DEVICE: 'cuda:1' })).toThrow(
      'initializeModelParallel: MEGATRON_DEVICE is "cuda:1", and operations do not run on CUDA devices yet. Use "cpu"; '
        + 'megatron-ts doctor tells what this machine has.',
    );
  });

  it('must be known', () => {
    expect(() => deviceFor(undefined, { MEGATRON_DEVICE: 'tpu' })).toThrow(
      'launch: MEGATRON_DEVICE is "tpu". Set it to cpu, cuda or cuda:N.',
    );
    expect(() => deviceFor('cuda:x', {})).toThrow('initializeModelParallel: device "cuda:x" is unknown. Use "cpu".');
  });
});
