import { describe, expect, it } from 'vitest';
import { deviceFor, nameOfDevice } from '../src/device-for.ts';

describe('the device', () => {
  const named = (option: string | undefined, env: Record<string, string> = {}) => nameOfDevice(deviceFor(option, 1, env));

  it('is the CPU, by option, by MEGATRON_DEVICE, or when nothing is said', () => {
    expect([named(undefined), named(undefined, { MEGATRON_DEVICE: 'cpu' }), named('cpu')]).toEqual(['cpu', 'cpu', 'cpu']);
    expect(named('cpu', { MEGATRON_DEVICE: 'cuda' })).toBe('cpu');
  });

  it('is one of CUDA by its number, the first where none is said', () => {
    expect([named('cuda'), named('cuda:3'), named(undefined, { MEGATRON_DEVICE: 'cuda:1' })]).toEqual(['cuda:0', 'cuda:3', 'cuda:1']);
  });

  it('is one of CUDA for one rank alone, and the sentence says so', () => {
    expect(() => deviceFor(undefined, 2, { MEGATRON_DEVICE: 'cuda:1' })).toThrow(
      'initializeModelParallel: MEGATRON_DEVICE is "cuda:1" and there are 2 ranks, whose groups do not move memory of CUDA devices yet. '
        + 'Use one rank, or "cpu".',
    );
    expect(deviceFor('cpu', 2, {}).kind).toBe('cpu');
  });

  it('must be known', () => {
    expect(() => deviceFor(undefined, 1, { MEGATRON_DEVICE: 'tpu' })).toThrow(
      'launch: MEGATRON_DEVICE is "tpu". Set it to cpu, cuda or cuda:N.',
    );
    expect(() => deviceFor('cuda:x', 1, {})).toThrow('initializeModelParallel: device "cuda:x" is unknown. Use "cpu", "cuda" or "cuda:N".');
  });
});
