import { initializeModelParallel } from '@megatron-ts/process-groups';
import { type AnyTensor, memoryStats, zeros } from '@megatron-ts/tensor';
import { type RecomputedPart, savedActivations, type SavedActivationsOptions, TransformerLayer } from '@megatron-ts/transformer';

/** Bytes that a layer's forward kept beside those on the list. */
export interface KeptBytes {
  readonly setting: string;
  readonly measured: number;
  readonly listed: number;
}

const sizes = { hiddenSize: 32, numAttentionHeads: 4 };
const [sequenceLength, batchSize] = [8, 3];
const parts: readonly (readonly RecomputedPart[])[] = [[], ['activation'], ['coreAttention', 'activation', 'norm']];

type Kind = Pick<SavedActivationsOptions, 'paramDType' | 'activation' | 'ffnHiddenSize'>;
const kinds: readonly (Kind & { readonly hiddenDropout?: number; readonly attentionDropout?: number })[] = [
  {},
  { paramDType: 'bf16', hiddenDropout: 0.1, attentionDropout: 0.1 },
  { activation: 'swiglu', ffnHiddenSize: 48, paramDType: 'bf16' },
];

/** Layers on 1, 2 and 4 of the ranks, of both dtypes, with and without a cut sequence and parts that are made again. */
export async function keptBytes(): Promise<KeptBytes[]> {
  const found: KeptBytes[] = [];
  for (const tensorModelParallelSize of [1, 2, 4]) {
    await using ctx = await initializeModelParallel({ tensorModelParallelSize });
    for (const sequenceParallel of [false, true])
      for (const recompute of parts)
        for (const kind of kinds) {
          const options = { ...sizes, ...kind, recompute, sequenceParallel };
          const layer = new TransformerLayer<boolean>({ ...options, tpGroup: ctx.tp }).initialize(ctx);
          const rows = sequenceParallel ? sequenceLength / tensorModelParallelSize : sequenceLength;
          const measured = ctx.step(0, () => {
            const x = zeros([rows, batchSize, sizes.hiddenSize], kind.paramDType ?? 'f32');
            x.requiresGrad = true;
            const before = memoryStats().liveBytes;
            const y = layer.call(x as AnyTensor);
            return memoryStats().liveBytes - before - y.bytes + x.bytes;
          });
          const listed = savedActivations({ ...options, sequenceLength, batchSize, tensorModelParallelSize });
          found.push({
            setting: JSON.stringify({ tensorModelParallelSize, sequenceParallel, recompute, ...kind }),
            measured,
            listed: listed.reduce((sum, { bytes }) => sum + bytes, 0),
          });
          layer.dispose();
        }
  }
  return found;
}
