import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../build/bench-python', import.meta.url));

/**
 * A Python with PyTorch: the one `MEGATRON_BENCH_PYTHON` names, else a virtual environment in `build/bench-python`, made when it is not
 * there. @throws Error when Python or PyTorch cannot be had
 */
export function peerPython(): string {
  const named = process.env['MEGATRON_BENCH_PYTHON'];
  if (named !== undefined && named !== '') return requireTorch(named);
  const python = `${folder}/bin/python`;
  if (!existsSync(python)) {
    process.stderr.write('bench: making a virtual environment with PyTorch in build/bench-python; this takes minutes, once.\n');
    run('python3', ['-m', 'venv', folder]);
    run(python, ['-m', 'pip', 'install', '--quiet', 'torch', 'numpy']);
  }
  return requireTorch(python);
}

function requireTorch(python: string): string {
  run(python, ['-c', 'import torch']);
  return python;
}

function run(command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status === 0) return;
  const reason = error?.message ?? `status ${status}`;
  throw new Error(
    `bench: ${command} ${args.join(' ')} failed (${reason}). Install Python 3 with venv, or name an interpreter that has torch in MEGATRON_BENCH_PYTHON.`,
  );
}
