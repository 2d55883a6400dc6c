import { fileURLToPath } from 'node:url';

/** Path of a module that stands beside this one: TypeScript in the repository, a file of `dist` when installed. */
export function besideTesting(name: string): string {
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`./${name}.${ending}`, import.meta.url));
}
