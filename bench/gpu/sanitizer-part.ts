import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { comparedOps, smallShapes, tinyShapes } from './op-list.ts';
import { nameOf } from './ops-part.ts';
import { here, type Part } from './part.ts';
import { Side } from './side.ts';

const tools = ['memcheck', 'racecheck', 'initcheck', 'synccheck'];

/** Part 4: each tool of compute-sanitizer over every operation on small shapes, where the program exists. */
export async function sanitizer(part: Part): Promise<void> {
  const program = process.env['MEGATRON_SANITIZER'] ?? 'compute-sanitizer';
  const found = spawnSync(program, ['--version'], { encoding: 'utf8' });
  if (found.status !== 0) {
    const reason = found.error?.message ?? `status ${found.status ?? 'none'}`;
    const sentence = `compute-sanitizer is not on this machine (${reason}). Install CUDA's toolkit, or name the program in MEGATRON_SANITIZER.`;
    for (const tool of tools) part.add({ name: tool, error: sentence });
    return;
  }
  for (const [at, tool] of tools.entries()) {
    const share = part.left / (tools.length - at);
    await part.row(tool, () => checked(part, { program, tool, untilLeft: part.left - share }));
  }
}

async function checked(part: Part, { program, tool, untilLeft }: { program: string; tool: string; untilLeft: number }): Promise<object> {
  const folder = mkdtempSync(join(tmpdir(), 'gpu-pack-'));
  const log = join(folder, 'log');
  const args = ['--tool', tool, '--log-file', log, process.execPath, here('ops-worker.js')];
  const side = part.keep(new Side(program, { args, env: { MEGATRON_ATTENTION: 'kernel' } }));
  const [done, refused, left]: [string[], string[], string[]] = [[], [], []];
  try {
    for (const { op, label = '', sizes, hasBackward, isFixed } of comparedOps(part.settings.isTiny ? tinyShapes : smallShapes))
      for (const dtype of isFixed === true ? (['f32'] as const) : (['bf16', 'f32'] as const)) {
        const name = `${nameOf({ op, label })} ${dtype}`;
        if (part.left < untilLeft + 5000) {
          left.push(name);
          continue;
        }
        const setting = { op, sizes, dtype, withBackward: hasBackward };
        try {
          await side.ask({ do: 'once', setting }, Math.max(1000, part.left - untilLeft));
          done.push(name);
        } catch (cause) {
          refused.push(`${name}: ${(cause as Error).message}`);
        }
      }
    await side.end();
    const text = textOf(log);
    const errors = Number(/ERROR SUMMARY: (\d+)|(\d+) hazards? displayed/.exec(text)?.slice(1).find(Boolean) ?? Number.NaN);
    const kernels = [...new Set([...text.matchAll(/(?:in|at) (\w+)(?:\(.*\))?\+0x/g)].map(([, kernel]) => kernel))];
    const none = done.length === 0 ? { error: `no operation ran under ${tool}: ${refused[0] ?? 'no time was left'}` } : {};
    return {
      ...none,
      errors: Number.isNaN(errors) ? 'no summary' : errors,
      ran: done.length,
      refused,
      notReached: left,
      kernels,
      log: text.slice(0, 6000),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
