// Type-checks every ts block of README.md, the pages beside it and docs/, each as a module of its own.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

const folder = 'build/snippets';

function pages() {
  const top = readdirSync('.').filter((name) => name.endsWith('.md'));
  const docs = existsSync('docs') ? readdirSync('docs', { recursive: true }).map((name) => name.replaceAll('\\', '/')) : [];
  return [...top, ...docs.filter((name) => name.endsWith('.md') && !name.startsWith('api/')).map((name) => `docs/${name}`)];
}

/** The ts blocks of a page, each with the line it starts on. */
function snippetsOf(page) {
  const text = readFileSync(page, 'utf8');
  return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(({ index, 1: code }) => ({ line: text.slice(0, index).split('\n').length, code }));
}

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
let count = 0;
for (const page of pages()) {
  for (const { line, code } of snippetsOf(page)) {
    writeFileSync(`${folder}/${page.replaceAll('/', '_')}-line-${line}.ts`, `${code}\nexport {};\n`);
    count++;
  }
}
const compilerOptions = { composite: false, noEmit: true, emitDeclarationOnly: false, declarationMap: false };
writeFileSync(`${folder}/tsconfig.json`, JSON.stringify({ extends: '../../tsconfig.base.json', compilerOptions, include: ['*.ts'] }));
if (count > 0) {
  const { status } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', folder], { stdio: 'inherit' });
  process.exitCode = status ?? 1;
}
