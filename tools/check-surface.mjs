// Every type in the bundled declarations is exported by an entry: typedoc's notExported looks at one package only, and the rooms are many.
//   node tools/check-surface.mjs <folder> <entry> …
import { readdirSync } from 'node:fs';
import ts from 'typescript';

const [folder, ...entries] = process.argv.slice(2);
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.d.ts'))
  .map((name) => `${folder}/${name}`);
const program = ts.createProgram(files, {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
});
const checker = program.getTypeChecker();

/** The symbol itself, where one only stands for it. */
function origin(symbol) {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

const exported = new Set();
for (const entry of entries) {
  const module = checker.getSymbolAtLocation(program.getSourceFile(`${folder}/${entry}.d.ts`));
  for (const symbol of checker.getExportsOfModule(module)) exported.add(origin(symbol));
}

let failed = 0;
for (const file of files) {
  for (const { name } of program.getSourceFile(file).statements) {
    const symbol = name === undefined ? undefined : checker.getSymbolAtLocation(name);
    if (symbol === undefined || exported.has(symbol)) continue;
    console.error(`${file}: ${symbol.name} is part of the public face but not exported. Re-export it from packages/core/src.`);
    failed++;
  }
}
process.exitCode = failed > 0 ? 1 : 0;
