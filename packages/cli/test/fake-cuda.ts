import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** The fake of CUDA's libraries, built; under another name it stands for another library. */
export function builtFake(): string {
  const args = ['build', '--quiet', '--package', 'megatron-fake-cuda', '--message-format', 'json-render-diagnostics'];
  const { status, stdout, stderr } = spawnSync('cargo', args, { cwd: repository, encoding: 'utf8' });
  if (status !== 0) throw new Error(`cargo build of the fake driver failed: ${stderr}`);
  const files = stdout
    .split('\n')
    .filter((line) => line.includes('"compiler-artifact"'))
    .flatMap((line) => (JSON.parse(line) as { filenames: string[] }).filenames);
  const fake = files.find((file) => file.endsWith('megatron_fake_cuda.so'));
  if (fake === undefined) throw new Error(`cargo built no shared library among ${files.join(', ')}`);
  return fake;
}

/** Every library that the engine looks for. */
export const libraryNames = [
  'libcuda.so.1',
  'libnvrtc.so.13',
  'libnvrtc-builtins.so.13.0',
  'libcublasLt.so.13',
  'libcublas.so.13',
  'libcudnn.so.9',
  'libnccl.so.2',
];

/** Puts `fake` into a folder under these names. */
export function install(
  fake: string,
  { folder, names = libraryNames }: { readonly folder: string; readonly names?: readonly string[] },
): void {
  for (const name of names) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(fake, path);
  }
}
