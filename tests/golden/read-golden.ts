import { readFileSync } from 'node:fs';

/** A tensor of a case: values, and the gradient PyTorch gave a floating input. */
export interface GoldenInput {
  readonly dtype: 'f32' | 'bf16' | 'i32' | 'u8';
  readonly shape: number[];
  readonly data: number[];
  readonly grad?: number[];
}

/** One case of one operation. */
export interface GoldenCase {
  readonly op: string;
  readonly name: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly inputs: GoldenInput[];
  readonly outputGrad?: number[];
  readonly output: { readonly shape: number[]; readonly data: number[] };
}

/** Files of cases; `manifest.json` says what made them. */
export const caseFiles = [
  'unary',
  'binary',
  'choosing',
  'reducing',
  'views',
  'products',
  'mixing',
  'attending',
  'turning',
  'norming',
  'looking-up',
].map((family) => `ops-${family}.json`);

/** A golden in JSON. */
export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8')) as T;
}

/** The named f32 tensors of a safetensors file. */
export function readTensors(name: string): Map<string, { readonly shape: number[]; readonly values: Float32Array }> {
  const bytes = readFileSync(new URL(name, import.meta.url));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<string, { shape: number[]; data_offsets: [number, number] }>;
  const entries = Object.entries(header).map(
    ([
      key,
      {
        shape,
        data_offsets: [from, to],
      },
    ]) => {
      const values = new Float32Array(Uint8Array.from(bytes.subarray(start + from, start + to)).buffer);
      return [key, { shape, values }] as const;
    },
  );
  return new Map(entries);
}
