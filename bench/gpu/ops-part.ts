import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attentionSides, settingsOf, suffixOf } from './attention-sides.ts';
import type { Deviation } from './deviation.ts';
import { type ComparedOp, comparedOps, fullShapes, tinyShapes } from './op-list.ts';
import type { Part } from './part.ts';

/**
 * How far results may be apart for a row to count as close: sums are made in another order, and bf16 keeps 8 bits, of which several
 * roundings of intermediate results take one or two.
 */
const tolerances = { f32: 2e-5, bf16: 2 ** -6 };

const limitMs = 90_000;

/** What was found, the launches since the device was opened, and what cuDNN was asked for. */
type Found = Deviation & { readonly launches: number; readonly cudnnAttentions: number };

/** Part 2: each operation on the device beside the CPU engine, and beside PyTorch where it has the same. */
export async function ops(part: Part): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gpu-pack-'));
  const [workers, peer] = [attentionSides(part), part.peer('gpu_ops.py')];
  const closeness = (found: Deviation, dtype: 'f32' | 'bf16') => {
    const { maxAbs, maxRel, largest, numel, notFinite } = found;
    return {
      maxAbs,
      maxRel,
      largest,
      numel,
      notFinite,
      tolerance: tolerances[dtype],
      isClose: notFinite === 0 && maxRel <= tolerances[dtype],
    };
  };
  const limit = () => Math.min(limitMs, part.left);
  try {
    for (const compared of comparedOps(part.settings.isTiny ? tinyShapes : fullShapes))
      for (const dtype of compared.isFixed === true ? (['f32'] as const) : (['f32', 'bf16'] as const)) {
        const setting = { op: compared.op, sizes: compared.sizes, dtype, withBackward: compared.hasBackward };
        const told = { op: compared.op, dtype, withBackward: compared.hasBackward };
        for (const attention of settingsOf(setting)) {
          const [worker, name] = [workers[attention], `${nameOf(compared)} ${dtype}${suffixOf(attention)}`];
          await part.row(`${name} / CPU`, async () => {
            const found = await worker.ask<Found>({ do: 'compare', setting }, limit());
            const { launches, cudnnAttentions } = found;
            return { ...told, beside: 'cpu', ...closeness(found, dtype), launches, ...(attention === 'kernel' ? {} : { cudnnAttentions }) };
          });
          if (!compared.hasPeer) continue;
          await part.row(`${name} / PyTorch`, async () => {
            const file = join(folder, 'values');
            const { lengths, device } = await peer.ask<{ lengths: number[]; device: string }>({ do: 'values', setting, file }, limit());
            const found = await worker.ask<Deviation>({ do: 'compare', setting, file, lengths }, limit());
            return { ...told, beside: `PyTorch on ${device}`, ...closeness(found, dtype) };
          });
        }
      }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** An operation's name with what tells it apart. */
export function nameOf({ op, label = '' }: Pick<ComparedOp, 'op' | 'label'>): string {
  return label === '' ? op : `${op} ${label}`;
}
