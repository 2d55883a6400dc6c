// Every derived export catches panics: one that escapes would end the process.
import { readdirSync, readFileSync } from 'node:fs';

const folder = 'crates/binding/src';
let failed = 0;
for (const file of readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.rs'))) {
  readFileSync(`${folder}/${file}`, 'utf8')
    .split('\n')
    .forEach((line, at) => {
      if (!/^\s*#\[napi(\]|\()/.test(line) || /catch_unwind|module_exports|object/.test(line)) return;
      console.error(`${folder}/${file}:${at + 1}: ${line.trim()} lets a panic end the process. Write #[napi(catch_unwind)].`);
      failed++;
    });
}
process.exitCode = failed > 0 ? 1 : 0;
