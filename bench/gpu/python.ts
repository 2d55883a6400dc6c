import { spawnSync } from 'node:child_process';

/** What an interpreter tells of itself: its paths as it sees them, behind links, and the folder that holds PyTorch. */
const question = [
  'import importlib.util, os, sys, sysconfig',
  'torch = importlib.util.find_spec("torch")',
  'print(sys.prefix)',
  'print(sys.executable)',
  'print(os.path.dirname(os.path.dirname(torch.origin)) if torch else sysconfig.get_paths()["purelib"])',
].join('\n');

/**
 * The interpreter that `MEGATRON_PYTHON` names, else `python3`. The engine looks for CUDA's libraries beside it: it is told where the
 * interpreter and PyTorch really are. Without an interpreter the peers' rows say so.
 */
export function usePython(): string {
  const python = process.env['MEGATRON_PYTHON'] ?? 'python3';
  const { status, stdout } = spawnSync(python, ['-c', question], { encoding: 'utf8' });
  if (status !== 0) return python;
  const [prefix = '', executable = python, packages = ''] = stdout.trim().split('\n');
  process.env['MEGATRON_PYTHON'] ??= `${prefix}/bin/python3`;
  const given = process.env['PYTHONPATH'];
  process.env['PYTHONPATH'] = given === undefined || given === '' ? packages : `${given}:${packages}`;
  return executable;
}
