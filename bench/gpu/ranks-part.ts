import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { middle } from './curves-part.ts';
import { here, type Part } from './part.ts';

/** How many ranks stand on each axis; the first is what the others are held against. */
const layouts = [
  { name: '1 rank', tensor: 1, pipeline: 1, data: 1 },
  { name: 'tensor 2', tensor: 2, pipeline: 1, data: 1 },
  { name: 'pipeline 2', tensor: 1, pipeline: 2, data: 1 },
  { name: 'data 2', tensor: 1, pipeline: 1, data: 2 },
  { name: 'tensor 2, pipeline 2', tensor: 2, pipeline: 2, data: 1 },
  { name: 'tensor 2, data 2', tensor: 2, pipeline: 1, data: 2 },
] as const;
type Layout = (typeof layouts)[number];

interface Told {
  readonly losses: readonly number[];
  readonly gradNorms: readonly number[];
  readonly ms: readonly number[];
}

/** Part 7: the same small GPT trained by one rank and by several on the same device, which NCCL takes for several hosts. */
export async function ranks(part: Part): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gpu-pack-'));
  const all = new Map<string, Told & { readonly weights: Float32Array }>();
  try {
    for (const layout of layouts) await part.row(layout.name, () => train(part, { layout, folder, all }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Training {
  readonly layout: Layout;
  readonly folder: string;
  readonly all: Map<string, Told & { readonly weights: Float32Array }>;
}

function train(part: Part, { layout, folder, all }: Training): object {
  const { name, tensor, pipeline, data } = layout;
  const file = join(folder, `weights-${tensor}-${pipeline}-${data}`);
  const asked = process.env['MEGATRON_DEVICE'] ?? 'cuda';
  const cli = here('../node_modules/@megatron-ts/core/bin/megatron-ts.js');
  const args = [here('ranks-worker.js'), String(tensor), String(pipeline), part.settings.isTiny ? '1' : '0', file];
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'run', '--ranks', String(tensor * pipeline * data), ...args], {
    encoding: 'utf8',
    env: { ...process.env, MEGATRON_DEVICE: asked === 'cuda' ? 'cuda:0' : asked, MEGATRON_TIMEOUT_MS: '60000' },
    timeout: Math.max(1000, Math.min(120_000, part.left)),
  });
  const line = /\{".*\}/.exec(stdout)?.[0] ?? '{}';
  const { error, ...told } = JSON.parse(line) as Told & { readonly error?: string };
  if (status !== 0 || error !== undefined) {
    const last = stderr.trim().split('\n').at(-1) ?? '';
    throw new Error(`${name}: ranks on one device do not train (status ${status ?? 'none'}): ${error ?? last}`);
  }
  const bytes = readFileSync(file);
  const weights = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const own = { ...told, weights };
  all.set(name, own);
  const alone = all.get(layouts[0].name);
  return { ...told, medianMs: middle(told.ms), parameters: weights.length, ...(alone === undefined ? {} : apart(own, alone)) };
}

/** How far two trainings are apart: losses in nats, norms and weights relative to the largest. */
function apart(a: Told & { readonly weights: Float32Array }, b: typeof a): object {
  if (a.weights.length !== b.weights.length)
    throw new Error(`there are ${a.weights.length} weights, and one rank alone has ${b.weights.length}.`);
  return {
    lossesApart: most(a.losses, b.losses),
    gradNormsApart: most(a.gradNorms, b.gradNorms) / Math.max(...b.gradNorms),
    weightsApart: most(a.weights, b.weights) / b.weights.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0),
  };
}

/** The largest difference; not a number where one is none. */
function most(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] ?? Number.NaN) - (b[i] ?? Number.NaN));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}
