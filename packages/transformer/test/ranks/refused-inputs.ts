import { finalizeGrads, initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { evaluate, type Tensor, tensor } from '@megatron-ts/tensor';
import { BertModel, GPTModel, LlamaModel } from '@megatron-ts/transformer';

const sizes = { vocabSize: 11, maxSequenceLength: 8, hiddenSize: 16, numLayers: 1, numAttentionHeads: 4 };

/** Sentences by what was wrong. */
export type Sentences = Readonly<Record<string, string>>;

/** What two tensor-parallel ranks say to inputs that do not fit. */
export async function refusedInputs(): Promise<Sentences> {
  await using ctx = await initializeModelParallel({ tensorModelParallelSize: 2 });
  const gpt = new GPTModel<boolean>({ ctx, ...sizes }).initialize(ctx);
  const llama = new LlamaModel<boolean>({ ctx, ...sizes, numKeyValueHeads: 1, ffnHiddenSize: 16 }).initialize(ctx);
  const bert = new BertModel<boolean>({ ctx, ...sizes }).initialize(ctx);
  const cutGPT = new GPTModel<boolean>({ ctx, ...sizes, sequenceParallel: true }).initialize(ctx);
  const cutBert = new BertModel<boolean>({ ctx, ...sizes, sequenceParallel: true }).initialize(ctx);
  const wrong = { targets: rows(4, 1, [2, 11]), tokens: rows(4, 1, [3, -1]) };
  const tokens = rows(4, 1);
  const cases: Record<string, () => unknown> = {
    'GPT, sequence': () => cutGPT.call(rows(7, 1)),
    'BERT, sequence': () => cutBert.call(rows(7, 1)),
    'GPT, segments': () => gpt.call(tokens, undefined, { segments: rows(2, 1) }),
    'GPT, segments under sequence parallelism': () => cutGPT.call(tokens, undefined, { segments: rows(2, 1) }),
    'Llama, positions': () => llama.call(tokens, undefined, { positions: rows(4, 2) }),
    'BERT, segments': () => bert.call(tokens, { segments: rows(4, 2) }),
    'GPT, targets': () => gpt.call(tokens, wrong.targets),
    'Llama, targets': () => llama.call(tokens, wrong.targets),
    'GPT, targets of logits': () => gpt.lossOf(gpt.call(tokens), wrong.targets),
    'BERT, targets': () => bert.lossOf(bert.call(tokens), wrong.targets),
    'GPT, tokens': () => gpt.call(wrong.tokens),
    'Llama, tokens': () => llama.call(wrong.tokens),
    'BERT, tokens': () => bert.call(wrong.tokens),
    'Llama, keys without copies': () => finishWithoutCopies(llama, ctx),
  };
  const found = Object.fromEntries(Object.entries(cases).map(([name, run]) => [name, sentenceOf(run)]));
  for (const model of [gpt, llama, bert, cutGPT, cutBert]) model.dispose();
  return found;
}

/** A mistake that only the optimizer's replicas would show: the meta of a key and value that two ranks hold does not say so. */
function finishWithoutCopies(model: GPTModel<boolean>, ctx: ParallelContext): void {
  for (const { attention } of model.layers.values()) {
    const { weight } = attention.qkv;
    Reflect.set(weight, 'meta', { ...weight.meta, logical: weight.meta.logical.map((part) => ({ ...part, copies: 1 })) });
  }
  finalizeGrads(model.parameters(), { ctx });
}

/** Tokens below the vocabulary `[s, b]`, but for one. */
function rows(seq: number, batch: number, [at, value]: readonly [number, number] = [0, 0]): Tensor {
  const values = Int32Array.from({ length: seq * batch }, (_, i) => i % 3);
  values[at] = value;
  return tensor(values, [seq, batch]);
}

function sentenceOf(run: () => unknown): string {
  try {
    evaluate(() => void run());
    return 'nothing was thrown';
  } catch (error) {
    return (error as Error).message;
  }
}
