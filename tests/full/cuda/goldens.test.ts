import { type AnyTensor, backward, crossEntropy, engine, gather, scope, sum, tensor } from '@megatron-ts/tensor';
import { expectClose } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fakeMachine, hostKernels } from '../../cuda/play.ts';
import { inputOf, runCase } from '../../golden/ops-under-test.ts';
import { caseFiles, type GoldenCase, readGolden } from '../../golden/read-golden.ts';

const because = 'PyTorch computed in f64 and the kernels in f32, in an order of their own';

/** A tolerance relative to the largest expected number. */
function tolerance(expected: readonly number[], relative: number): { rtol: number; atol: number; because: string } {
  const size = expected.reduce((largest, value) => (Number.isFinite(value) ? Math.max(largest, Math.abs(value)) : largest), 0);
  return { rtol: relative, atol: relative * size, because };
}

const valuesOf = (t: AnyTensor | undefined): ArrayLike<number> => t?.toArray() as ArrayLike<number>;

/**
 * Every operation with its gradients through the launches of a device: a fake driver runs the kernels, compiled for this machine's CPU, and
 * multiplies matrices by itself.
 */
describe.runIf(process.platform === 'linux')('operations launched on a fake device', () => {
  let machine: ReturnType<typeof fakeMachine>;
  beforeAll(() => {
    machine = fakeMachine();
    const { folder } = machine;
    const fake = { MEGATRON_CUDA_LIBS: folder, MEGATRON_CACHE: `${folder}/cache`, MEGATRON_FAKE_CUDA: `run=${hostKernels}` };
    Object.assign(process.env, fake, { MEGATRON_ATTENTION: 'kernel' });
    engine.useDevice(0);
  });
  afterAll(() => {
    engine.useCpu();
    machine.end();
  });

  it('refuse tokens and indices that are not there where a value is read next, and go on', () => {
    scope(() => {
      const logits = tensor([1, 2, 3, 4, 5, 6], [2, 3]);
      const losses = crossEntropy(logits, tensor(Int32Array.of(2, 3), [2]));
      const late = 'token 1 of those that were looked up or compared since the last read is not in the vocabulary. Check them.';
      expect(() => losses.toArray()).toThrow(late);
      expect([...logits.toArray()]).toEqual([1, 2, 3, 4, 5, 6]);
      const ignoring = crossEntropy(logits, tensor(Int32Array.of(2, -100), [2]), { ignoreIndex: -100 });
      expect(ignoring.toArray()[1]).toBe(0);
      const rows = gather(logits, 1, tensor(Int32Array.of(0, 1, 2, 0, -1, 2), [2, 3]));
      expect(() => rows.toArray()).toThrow('gather: the index at position 4 is outside its dim, as was found since the last read.');
      expect(sum(logits).item()).toBe(21);
    });
  });

  describe.each(caseFiles)('%s agrees with PyTorch', (file) => {
    it.each(readGolden<GoldenCase[]>(file).map((golden) => [golden.name, golden] as const))('in values and gradients: %s', (_, golden) => {
      const before = engine.deviceStats();
      scope(() => {
        const inputs = golden.inputs.map((input) => inputOf(input));
        const output = runCase(golden, inputs);
        expect(output.shape).toEqual(golden.output.shape);
        expectClose(valuesOf(output), golden.output.data, tolerance(golden.output.data, 1e-5));
        if (golden.outputGrad === undefined) return;
        backward([output], [tensor(golden.outputGrad, output.shape, { dtype: output.dtype })]);
        golden.inputs.forEach(({ grad }, i) => {
          if (grad !== undefined) expectClose(valuesOf(inputs[i]?.grad), grad, tolerance(grad, 1e-4));
        });
      });
      expect(engine.deviceStats()?.reads).toBeGreaterThan(before?.reads ?? 0); // it did lie there
    });
  });
});
