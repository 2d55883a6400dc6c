import { type Device, initializeModelParallel } from '@megatron-ts/process-groups';
import { engine, scope, tensor } from '@megatron-ts/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fakeMachine } from './play.ts';

/** Where a tensor lies that is made now. */
const placeOfNew = () => {
  const before = engine.deviceStats();
  return scope(() => {
    tensor([1, 2, 3]);
    const after = engine.deviceStats();
    return (after?.allocations ?? 0) > (before?.allocations ?? 0) ? after?.name : 'cpu';
  });
};

/** Several contexts of one process, and on which device new tensors lie while they come and go. */
describe.runIf(process.platform === 'linux')('contexts of one process, on fake devices', () => {
  let machine: ReturnType<typeof fakeMachine>;
  beforeAll(() => {
    machine = fakeMachine();
    const { folder } = machine;
    Object.assign(process.env, { MEGATRON_CUDA_LIBS: folder, MEGATRON_CACHE: `${folder}/cache`, MEGATRON_FAKE_CUDA: 'devices=2' });
  });
  afterAll(() => machine.end());

  const begin = (device: Device) => initializeModelParallel({ device });

  it('keep new tensors on the device of the one that is left', async () => {
    const [first, second] = [await begin('cuda:0'), await begin('cuda:0')];
    await first.destroy();
    expect(placeOfNew()).toBe('cuda:0');
    await first.destroy();
    expect(placeOfNew()).toBe('cuda:0');
    await second.destroy();
    expect(placeOfNew()).toBe('cpu');
  });

  it('have new tensors on the device of the one made last, whichever ends first', async () => {
    const [outer, between, inner] = [await begin('cuda:0'), await begin('cpu'), await begin('cuda:1')];
    expect(placeOfNew()).toBe('cuda:1');
    await between.destroy();
    expect(placeOfNew()).toBe('cuda:1');
    await inner.destroy();
    expect(placeOfNew()).toBe('cuda:0');
    const onCpu = await begin('cpu');
    expect(placeOfNew()).toBe('cpu');
    await outer.destroy();
    expect(placeOfNew()).toBe('cpu');
    await onCpu.destroy();
  });

  it('change nothing where a device cannot be opened', async () => {
    const ctx = await begin('cuda:1');
    await expect(begin('cuda:7')).rejects.toThrow('device 7: there are 2 devices.');
    expect(placeOfNew()).toBe('cuda:1');
    await ctx.destroy();
    expect(placeOfNew()).toBe('cpu');
  });
});
