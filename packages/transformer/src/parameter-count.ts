import { globalNumel, type Module } from '@megatron-ts/tensor';

/**
 * Number of parameters of the whole model over all tensor-parallel ranks, each tied weight once. Of a stage of a pipeline, those of the
 * stage. Constructing a model takes no memory, so that any size can be counted.
 */
export function parameterCount(model: Module): number {
  return model
    .parameters()
    .filter(({ tiedTo, meta }) => tiedTo === undefined && meta.isPrimary)
    .reduce((sum, { meta }) => sum + globalNumel(meta), 0);
}
