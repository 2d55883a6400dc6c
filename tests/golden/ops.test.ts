import * as room from '@megatron-ts/tensor';
import { type AnyTensor, backward, scope, tensor } from '@megatron-ts/tensor';
import { expectClose } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { inputOf, runCase, testedOps } from './ops-under-test.ts';
import { caseFiles, type GoldenCase, readGolden } from './read-golden.ts';

const because = 'PyTorch computed in f64 and the engine in f32';

/** A tolerance relative to the largest expected number: a sum of large terms may be small. */
function tolerance(expected: readonly number[], relative: number): { rtol: number; atol: number; because: string } {
  const size = expected.reduce((largest, value) => (Number.isFinite(value) ? Math.max(largest, Math.abs(value)) : largest), 0);
  return { rtol: relative, atol: relative * size, because };
}

describe.each(caseFiles)('%s agrees with PyTorch', (file) => {
  it.each(readGolden<GoldenCase[]>(file).map((golden) => [golden.name, golden] as const))('in values and gradients: %s', (_, golden) => {
    scope(() => {
      const inputs = golden.inputs.map((input) => inputOf(input));
      const output = runCase(golden, inputs);
      expect(output.shape).toEqual(golden.output.shape);
      expectClose(output.toArray() as ArrayLike<number>, golden.output.data, tolerance(golden.output.data, 1e-5));
      if (golden.outputGrad === undefined) return;
      backward([output], [tensor(golden.outputGrad, output.shape, { dtype: output.dtype })]);
      golden.inputs.forEach(({ grad }, i) => {
        if (grad !== undefined) expectClose(inputs[i]?.grad?.toArray() as ArrayLike<number>, grad, tolerance(grad, 1e-4));
      });
    });
  });
});

describe('what backward needs', () => {
  const cases = caseFiles.flatMap((file) => readGolden<GoldenCase[]>(file)).filter(({ outputGrad }) => outputGrad !== undefined);
  const smallest = [...new Map(cases.toReversed().map((golden) => [golden.op, golden])).values()];

  it.each(smallest.map((golden) => [golden.op, golden] as const))(
    'is held by the tape when all but the output has gone: %s',
    (_, golden) => {
      scope(() => {
        const leaves = golden.inputs.map((input) => inputOf(input));
        const output = scope(() => {
          const passing = golden.inputs.map((input, i) => (input.dtype === 'f32' ? (leaves[i] as AnyTensor).mul(1) : inputOf(input)));
          return runCase(golden, passing);
        });
        backward([output], [tensor(golden.outputGrad ?? [], output.shape, { dtype: output.dtype })]);
        golden.inputs.forEach(({ grad }, i) => {
          if (grad !== undefined) expectClose(leaves[i]?.grad?.toArray() as ArrayLike<number>, grad, tolerance(grad, 1e-4));
        });
      });
    },
  );
});

describe('the goldens', () => {
  const made = new Set(caseFiles.flatMap((file) => readGolden<GoldenCase[]>(file).map(({ op }) => op)));

  it('have a case for every operation of the table, and the table for every case', () => {
    expect([...made].sort()).toEqual([...testedOps].sort());
  });

  it('cover every differentiable operation that the room exports', () => {
    const unrecorded = ['alias', 'axpy', 'copyInto', 'empty', 'filled', 'ones', 'scaleInPlace', 'zeros'];
    const viaOthers = ['linearProducts', 'shardedCrossEntropy', 'sumToShape'];
    const drawn = ['biasDropoutAdd', 'dropout']; // no other library draws the same
    const other = [
      'backward',
      'broadcastShape',
      'bytesPerElement',
      'callerLine',
      'categorize',
      'checksPlacements',
      'constantTensor',
      'copyToHost',
      'countTargets',
      'declarePlacement',
      'deviceStats',
      'defineOp',
      'dtypeCode',
      'emptyCache',
      'emptyIn',
      'evaluate',
      'firstOutside',
      'flushReleases',
      'forgetUniform',
      'formatShape',
      'globalNumel',
      'inCategory',
      'inSpan',
      'isChecking',
      'isFloating',
      'keep',
      'logicalViews',
      'memoryStats',
      'noGrad',
      'numel',
      'philoxKey',
      'placeCollective',
      'placementOver',
      'productPlacement',
      'readBox',
      'recompute',
      'record',
      'recordAll',
      'recordSpans',
      'remakeable',
      'requireDropoutRates',
      'requireLossOptions',
      'resetPeakMemory',
      'samePlacement',
      'sameShape',
      'scope',
      'stridesOf',
      'tensor',
      'weightGradientsFollow',
      'whereInModel',
      'wholeTensor',
      'withChecking',
      'withMicrobatch',
      'writeBox',
    ];
    const functions = Object.entries(room).filter(([name, value]) => typeof value === 'function' && !/^[A-Z]/.test(name));
    const untested = functions
      .map(([name]) => name)
      .filter((name) => !testedOps.has(name) && ![...unrecorded, ...viaOthers, ...drawn, ...other].includes(name));
    expect(untested).toEqual([]);
  });
});
