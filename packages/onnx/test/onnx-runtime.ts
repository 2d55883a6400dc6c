import { InferenceSession, Tensor } from 'onnxruntime-node';

/** Tokens of a batch, `[s, b]` as the model takes them. */
export interface Batch {
  readonly tokens: Int32Array;
  readonly shape: readonly [number, number];
}

/** A batch of tokens that differ. */
export function batchOf([sequence, batch]: readonly [number, number], vocabSize: number): Batch {
  const tokens = Int32Array.from({ length: sequence * batch }, (_, i) => (i * i * 7 + i * 3 + 1) % vocabSize);
  return { tokens, shape: [sequence, batch] };
}

/** `[rows, columns, width]` to `[columns, rows, width]`. */
function exchanged<A extends Float32Array | BigInt64Array>(values: A, [rows, columns]: readonly [number, number]): A {
  const width = values.length / (rows * columns);
  const out = values.slice() as A;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      for (let i = 0; i < width; i++) out[(column * rows + row) * width + i] = values[(row * columns + column) * width + i] as A[number];
  return out;
}

/** A model that ONNX Runtime has read. */
export interface Served {
  /** Logits of a batch, `[s, b, v]` as the model gives them. */
  logits(batch: Batch): Promise<Float32Array>;
}

/** Reads a model from its file. */
export async function serve(path: string): Promise<Served> {
  const session = await InferenceSession.create(path);
  return {
    logits: async ({ tokens, shape: [sequence, batch] }) => {
      const byBatch = exchanged(BigInt64Array.from(tokens, BigInt), [sequence, batch]);
      const { logits } = await session.run({ tokens: new Tensor('int64', byBatch, [batch, sequence]) });
      const [b, s] = logits?.dims ?? [];
      if (b !== batch || s !== sequence) throw new RangeError(`logits are [${logits?.dims.join()}]`);
      return exchanged(logits?.data as Float32Array, [batch, sequence]);
    },
  };
}
