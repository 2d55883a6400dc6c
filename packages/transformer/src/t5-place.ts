import { ConfigError } from '@megatron-ts/errors';
import type { ModelContext } from './gpt-options.ts';
import { type PipelinePlace, placeOf } from './pipeline-place.ts';

/** What a pipeline gives a stage of an encoder and a decoder. */
export interface T5Place extends Pick<PipelinePlace, 'isFirst' | 'isLast'> {
  /** Layers of the encoder, by their number in it. */
  readonly encoder: readonly number[];
  /** Layers of the decoder, by their number in it. */
  readonly decoder: readonly number[];
}

/** Sizes that are cut over stages. */
export interface T5Depth {
  /** The mesh. */
  readonly ctx: ModelContext;
  /** Layers of the encoder. */
  readonly numLayers: number;
  /** Layers of the decoder. */
  readonly numDecoderLayers: number;
}

/**
 * This stage's share of both stacks, one behind the other, in equal parts: one stage may hold layers of both.
 * @throws ConfigError INDIVISIBLE, INVALID_OPTION
 */
export function t5PlaceOf(model: string, { ctx, numLayers, numDecoderLayers }: T5Depth): T5Place {
  const { virtualPp } = ctx.mesh.sizes;
  if (virtualPp > 1) {
    const sentence = `${model}: stages of ${virtualPp} chunks would each need a copy of the biases of distances. Use one chunk to a stage.`;
    throw new ConfigError('INVALID_OPTION', sentence, { fields: { virtualPipelineModelParallelSize: virtualPp } });
  }
  const [all, stages] = [numLayers + numDecoderLayers, ctx.pp.size];
  if (all % stages !== 0) {
    const sentence =
      `${model}: numLayers ${numLayers} and numDecoderLayers ${numDecoderLayers} are ${all} layers, which do not divide by `
      + `pipelineModelParallelSize ${stages}. Make them a multiple of ${stages} together.`;
    throw new ConfigError('INDIVISIBLE', sentence, { fields: { numLayers, numDecoderLayers, pipelineModelParallelSize: stages } });
  }
  const { isFirst, isLast, layers } = placeOf(model, { ctx, numLayers: all });
  const encoder = layers.filter((layer) => layer < numLayers);
  const decoder = layers.flatMap((layer) => (layer < numLayers ? [] : [layer - numLayers]));
  return { isFirst, isLast, encoder, decoder };
}
