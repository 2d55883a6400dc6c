import { backward, deviceStats, engine, scope, tensor } from '@megatron-ts/tensor';
import { expectRelativeL2 } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fakeMachine, hostKernels } from '../../cuda/play.ts';
import { inputOf, runCase } from '../../golden/ops-under-test.ts';
import { type GoldenCase, readGolden } from '../../golden/read-golden.ts';

const often = { limit: 2 ** -6, because: 'probabilities and their gradients are rounded to bf16 inside, by either in its own order' };
const goldens = readGolden<GoldenCase[]>('ops-bf16.json').filter(({ op }) => op === 'selfAttention');

/** Heads of 8 channels are cuDNN's, those of 4 are left to our kernels. */
const isFused = ({ inputs, args }: GoldenCase): boolean => (inputs[0]?.shape[2] ?? 0) / (3 * Number(args['numHeads'])) === 8;

/** The graphs that cuDNN is given, carried out operation by operation by a fake; what is left to our kernels runs on this machine's CPU. */
describe.runIf(process.platform === 'linux')('attention by a fake cuDNN', () => {
  let machine: ReturnType<typeof fakeMachine>;
  beforeAll(() => {
    machine = fakeMachine();
    const { folder } = machine;
    const fake = { MEGATRON_CUDA_LIBS: folder, MEGATRON_CACHE: `${folder}/cache`, MEGATRON_FAKE_CUDA: `run=${hostKernels}` };
    Object.assign(process.env, fake, { MEGATRON_ATTENTION: 'cudnn' });
    engine.useDevice(0);
  });
  afterAll(() => {
    engine.useCpu();
    machine.end();
  });

  it.each(goldens.map((golden) => [golden.name, golden] as const))('agrees with PyTorch: %s', (_, golden) => {
    const before = deviceStats()?.cudnnAttentions ?? 0;
    scope(() => {
      const [qkv, ...others] = golden.inputs.map((input) => inputOf(input));
      if (qkv === undefined) throw new Error('a golden has no input');
      const output = runCase(golden, [qkv, ...others]);
      const near = (actual: ArrayLike<number> | undefined, expected: readonly number[] = []): void =>
        expectRelativeL2(Float32Array.from(actual ?? []), Float32Array.from(expected), often);
      near(output.toArray() as Float32Array, golden.output.data);
      backward([output], [tensor(golden.outputGrad ?? [], output.shape, { dtype: 'bf16' })]);
      near(qkv.grad?.toArray() as Float32Array, golden.inputs[0]?.grad);
    });
    const stats = deviceStats();
    expect((stats?.cudnnAttentions ?? 0) - before).toBe(isFused(golden) ? 2 : 0);
    if (!isFused(golden)) expect(stats?.whyKernels).toBe('its heads are no multiple of 8 channels');
  });

  it('has both kinds among the goldens', () => {
    expect(new Set(goldens.map(isFused))).toEqual(new Set([true, false]));
  });
});
