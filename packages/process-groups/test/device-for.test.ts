import { describe, expect, it } from 'vitest';
import { deviceFor, nameOfDevice } from '../src/device-for.ts';

describe('the device', () => {
  const alone = { localRank: 0, worldSize: 1, isPlayed: false, visible: () => 2 };
  const named = (option: string | undefined, env: Record<string, string> = {}) => nameOfDevice(deviceFor(option, alone, env));

  it('is the CPU, by option, by MEGATRON_DEVICE, or when nothing is said', () => {
    expect([named(undefined), named(undefined, { MEGATRON_DEVICE: 'cpu' }), named('cpu')]).toEqual(['cpu', 'cpu', 'cpu']);
    expect(named('cpu', { MEGATRON_DEVICE: 'cuda' })).toBe('cpu');
  });

  it('is one of CUDA by its number, the first where none is said', () => {
    expect([named('cuda'), named('cuda:3'), named(undefined, { MEGATRON_DEVICE: 'cuda:1' })]).toEqual(['cuda:0', 'cuda:3', 'cuda:1']);
  });

  it('is the next one for each rank of a host that asks for any, and the same one for all that name it', () => {
    const of = (localRank: number, option: string) => nameOfDevice(deviceFor(option, { ...alone, localRank, worldSize: 4 }, {}));
    expect([0, 1, 2, 3].map((rank) => of(rank, 'cuda'))).toEqual(['cuda:0', 'cuda:1', 'cuda:0', 'cuda:1']);
    expect([0, 3].map((rank) => of(rank, 'cuda:1'))).toEqual(['cuda:1', 'cuda:1']);
    expect(of(2, 'cpu')).toBe('cpu');
  });

  it('is the CPU for ranks that are played', () => {
    const played = { ...alone, worldSize: 2, isPlayed: true };
    expect(() => deviceFor(undefined, played, { MEGATRON_DEVICE: 'cuda:1' })).toThrow(
      'initializeModelParallel: MEGATRON_DEVICE is "cuda:1", and backend fake plays ranks on the CPU. Use "cpu".',
    );
  });

  it('must be known', () => {
    expect(() => deviceFor(undefined, alone, { MEGATRON_DEVICE: 'tpu' })).toThrow(
      'launch: MEGATRON_DEVICE is "tpu". Set it to cpu, cuda or cuda:N.',
    );
    expect(() => deviceFor('cuda:x', alone, {})).toThrow(
      'initializeModelParallel: device "cuda:x" is unknown. Use "cpu", "cuda" or "cuda:N".',
    );
  });
});
