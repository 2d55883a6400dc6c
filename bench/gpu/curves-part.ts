import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { curveModel, tinyModel } from './models.ts';
import type { Part } from './part.ts';

interface Prepared {
  readonly device: string;
  readonly names: readonly string[];
  readonly shapes: readonly (readonly number[])[];
}

interface Steps {
  readonly losses: readonly number[];
  readonly ms: readonly number[];
}

/** Part 3: the losses of a small GPT from the same initial values and on the same tokens. */
export async function curves(part: Part): Promise<void> {
  const { isTiny } = part.settings;
  const [sizes, count] = isTiny ? [tinyModel, 12] : [curveModel, 100];
  const folder = mkdtempSync(join(tmpdir(), 'gpu-pack-'));
  const file = join(folder, 'parameters');
  const device = process.env['MEGATRON_DEVICE'] ?? 'cuda';
  const all = new Map<string, readonly number[]>();
  let initial: Prepared | undefined;
  const limit = () => Math.min(200_000, part.left);

  const ours = async (name: string, place: string, dtype: 'f32' | 'bf16') => {
    await part.row(name, async () => {
      const worker = part.ours('train-worker.js', { MEGATRON_DEVICE: place });
      const prepared = await worker.ask<Prepared>(
        { do: 'prepare', sizes, dtype, device: place, ...(place === 'cpu' ? { file } : {}) },
        limit(),
      );
      if (place === 'cpu') initial = prepared;
      const { losses, ms } = await worker.ask<Steps>({ do: 'steps', count }, limit());
      await worker.end();
      all.set(name, losses);
      return { device: prepared.device, dtype, ...told(losses, ms) };
    });
  };
  const theirs = async (name: string, dtype: 'f32' | 'bf16') => {
    await part.row(name, async () => {
      if (initial === undefined) throw new Error('the initial values are those of our CPU row, which was not done.');
      const peer = part.peer('gpu_train.py');
      const { names, shapes } = initial;
      await peer.ask({ do: 'prepare', sizes, dtype, initial: { file, names, shapes } }, limit());
      const { losses, ms } = await peer.ask<Steps>({ do: 'steps', count, mode: 'eager' }, limit());
      await peer.end();
      all.set(name, losses);
      return { device: 'PyTorch', dtype, ...told(losses, ms) };
    });
  };

  try {
    await ours('losses f32, CPU', 'cpu', 'f32');
    await ours('losses f32, device', device, 'f32');
    await theirs('losses f32, PyTorch', 'f32');
    await ours('losses bf16, device', device, 'bf16');
    await theirs('losses bf16, PyTorch', 'bf16');
    for (const [a, b] of [
      ['losses f32, device', 'losses f32, CPU'],
      ['losses f32, device', 'losses f32, PyTorch'],
      ['losses bf16, device', 'losses bf16, PyTorch'],
      ['losses bf16, device', 'losses f32, device'],
    ] as const)
      await part.row(`distance: ${a} / ${b}`, () => distance(a, b, all));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function told(losses: readonly number[], ms: readonly number[]) {
  return { first: losses[0], last: losses.at(-1), steps: losses.length, medianMs: middle(ms), losses };
}

function distance(a: string, b: string, all: ReadonlyMap<string, readonly number[]>) {
  const [left, right] = [all.get(a), all.get(b)];
  if (left === undefined || right === undefined) throw new Error(`there is no curve "${left === undefined ? a : b}".`);
  const apart = left.map((loss, at) => Math.abs(loss - (right[at] ?? Number.NaN)));
  return { first: apart[0], last: apart.at(-1), most: Math.max(...apart) };
}

/** The median. */
export function middle(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[at] ?? Number.NaN) : ((sorted[at - 1] ?? Number.NaN) + (sorted[at] ?? Number.NaN)) / 2;
}
