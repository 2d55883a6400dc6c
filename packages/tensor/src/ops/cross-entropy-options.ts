import { ConfigError } from '@megatron-ts/errors';
import { where } from '../where-in-model.ts';

/** What a cross entropy adds to the loss of a row, and which rows it leaves out. */
export interface CrossEntropyOptions {
  /**
   * Share of the target's probability that all tokens of the vocabulary, the target among them, get in equal parts; 0 by default. (The
   * `alpha` of Megatron-core spares the target: it is `labelSmoothing` times (vocabSize - 1) / vocabSize.)
   * @source Szegedy et al. 2016, section 7
   */
  readonly labelSmoothing?: number | undefined;
  /**
   * Coefficient of the square of log(sum(exp(logits))), which keeps logits from drifting; 0 by default, 1e-4 in PaLM.
   * @source Chowdhery et al. 2022, section 5
   */
  readonly zLoss?: number | undefined;
  /** Target of rows that have loss 0, no gradient and no part in the number of tokens; none by default. */
  readonly ignoreIndex?: number | undefined;
}

/** @throws ConfigError INVALID_OPTION */
export function requireLossOptions(op: string, { labelSmoothing = 0, zLoss = 0, ignoreIndex = 0 }: CrossEntropyOptions): void {
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1))
    throw refusal(`${where(op)}: labelSmoothing is ${labelSmoothing}. Use a share from 0 to 1, such as 0.1.`, { labelSmoothing });
  if (!(zLoss >= 0 && zLoss < Infinity))
    throw refusal(`${where(op)}: zLoss is ${zLoss}. Use a coefficient of at least 0, such as 1e-4.`, { zLoss });
  if ((ignoreIndex | 0) !== ignoreIndex)
    throw refusal(`${where(op)}: ignoreIndex is ${ignoreIndex}. Use a whole number that i32 holds, such as -100.`, { ignoreIndex });
}

function refusal(sentence: string, fields: Readonly<Record<string, number>>): ConfigError {
  return new ConfigError('INVALID_OPTION', sentence, { fields });
}
