// Makes build/nvrtc/<version>: a virtual environment of Python with NVIDIA's run-time compiler, which needs neither a GPU nor a driver.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';

/** The version of the GPU images that PyTorch 2.11 comes with. */
export const version = '13.0.88';

/** Runs a command; throws `sentence` with the command's last words when it fails. */
function run(command, args, sentence) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return;
  const last = `${stdout ?? ''}\n${stderr ?? ''}`.trim().split('\n').at(-1);
  throw new Error(`${sentence} (${error?.message ?? last})`);
}

/** The Python of the environment, which is made when it is not there: beside, then renamed, so that nobody sees half of one. */
export function pythonWithNvrtc() {
  const folder = resolve('build/nvrtc', version);
  const python = `${folder}/bin/python3`;
  if (existsSync(`${folder}/made`)) return python;
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(`the compiler's wheel is for Linux on x64, and this is ${process.platform} on ${process.arch}. Check there.`);
  const draft = `${folder}.${process.pid}`;
  rmSync(draft, { recursive: true, force: true });
  run('python3', ['-m', 'venv', draft], 'python3 cannot make a virtual environment. Install Python 3.8 or newer with its venv module.');
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:'];
  const failure = `nvidia-cuda-nvrtc ${version} cannot be installed from the Python package index. Check the network, or pip's index.`;
  run(`${draft}/bin/python3`, [...install, `nvidia-cuda-nvrtc==${version}`], failure);
  mkdirSync(`${draft}/made`);
  rmSync(folder, { recursive: true, force: true });
  renameSync(draft, folder);
  return python;
}
