// Lines of files and of Rust functions, and columns of lines, against budget.json; TypeScript functions are ESLint's business,
// columns of Rust are rustfmt's. Above "asks" it only says so.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { matchesAny } from './path-pattern.mjs';

const { fileLines, functionLines, lineColumns, tables, kernels, generated } = JSON.parse(readFileSync('budget.json', 'utf8'));
const endings = ['ts', 'mjs', 'js', 'rs', 'cu'].map((ending) => `*.${ending}`);
const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', ...endings], { encoding: 'utf8' });
const files = listed
  .trim()
  .split('\n')
  .filter((file) => existsSync(file) && !matchesAny(generated, file));
const faults = [];
const questions = [];

/** Holds a size against its limits; `name` says whose size it is. */
function weigh(name, lines, { asks, fails }) {
  if (lines > fails) faults.push(`${name}: ${lines} lines, the limit is ${fails}. Split it by concept.`);
  else if (lines > asks) questions.push(`${name}: ${lines} lines`);
}

/** The functions of a Rust file as rustfmt writes them: from `fn` to the closing brace in the same column. */
function rustFunctions(lines) {
  const opening = /^(\s*)(?:pub(?:\([^)]*\))? )?(?:const )?(?:unsafe )?(?:extern "C" )?fn (\w+)/;
  const starts = lines
    .map((line, at) => ({ at, match: opening.exec(line) }))
    .filter(({ match, at }) => match !== null && !lines[at].endsWith(';'));
  return starts.map(({ at, match: [, indent, name] }) => {
    const length = lines.slice(at).findIndex((line) => line === `${indent}}` || (line.startsWith(`${indent}fn`) && line.endsWith('}')));
    return { name, line: at + 1, lines: length + 1 };
  });
}

/** Code that runs past the last column. A sentence in quotes may: it cannot be cut. */
function isTooLong(line) {
  return line.length > lineColumns && !/['"`].{60,}['"`]/.test(line);
}

for (const file of files) {
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  weigh(file, lines.length, matchesAny(tables, file) ? { asks: fileLines.tables, fails: fileLines.tables } : fileLines);
  const isRust = file.endsWith('.rs');
  lines.forEach((line, at) => {
    if (!isRust && isTooLong(line)) faults.push(`${file}:${at + 1}: ${line.length} columns, the limit is ${lineColumns}. Break the line.`);
  });
  if (!isRust) continue;
  const kernel = { asks: functionLines.kernels, fails: functionLines.kernels };
  for (const { name, line, lines: length } of rustFunctions(lines))
    weigh(`${file}:${line}: ${name}`, length, matchesAny(kernels, file) ? kernel : functionLines);
}
for (const question of questions) console.log(`large, is it one concept? ${question}`);
for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
