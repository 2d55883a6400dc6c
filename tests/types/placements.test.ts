import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const file = fileURLToPath(new URL('planted-mistakes.ts', import.meta.url));
const base = fileURLToPath(new URL('../../tsconfig.base.json', import.meta.url));
const expectation = /@ts-expect-error .*: "(?<given>[\w ]+)" for "(?<wanted>[\w ]+)"/;

interface Mistake {
  readonly line: number;
  readonly names: string[];
}

/** What each comment promises of the line below it. */
function planted(text: string): Mistake[] {
  return text.split('\n').flatMap((line, index) => {
    const groups = expectation.exec(line)?.groups;
    return groups === undefined ? [] : [{ line: index + 1, names: [groups['given'] ?? '', groups['wanted'] ?? ''] }];
  });
}

/** The compiler's messages about the file when the comments expect nothing: first line of each, by line. */
function messages(): Map<number, string> {
  const { config } = ts.readConfigFile(base, (path) => ts.sys.readFile(path)) as { config: unknown };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, dirname(base));
  Object.assign(options, { composite: false, incremental: false, declarationMap: false, emitDeclarationOnly: false, noEmit: true });
  const host = ts.createCompilerHost(options);
  const { getSourceFile } = host;
  host.getSourceFile = (path, languageVersion, ...rest) =>
    path === file
      ? ts.createSourceFile(path, readFileSync(file, 'utf8').replaceAll('@ts-expect-error', 'expected:'), languageVersion, true)
      : getSourceFile.call(host, path, languageVersion, ...rest);
  const program = ts.createProgram([file], options, host);
  const source = program.getSourceFile(file);
  const found = new Map<number, string>();
  for (const { start = 0, messageText } of program.getSemanticDiagnostics(source)) {
    const line = source?.getLineAndCharacterOfPosition(start).line ?? -1;
    found.set(line, typeof messageText === 'string' ? messageText : messageText.messageText);
  }
  return found;
}

describe('placements as types', () => {
  const expected = planted(readFileSync(file, 'utf8'));
  const found = messages();

  it('eleven sharding mistakes are planted', () => {
    expect(expected).toHaveLength(11);
  });

  it('every planted mistake fails to compile, and nothing else does', () => {
    expect([...found.keys()]).toEqual(expected.map(({ line }) => line));
  });

  it('the first line of each message names the placement given and the one wanted', () => {
    const unreadable = expected.filter(({ line, names }) => !names.every((name) => found.get(line)?.includes(name)));
    expect(unreadable.map(({ line, names }) => ({ names, message: found.get(line) }))).toEqual([]);
  });
});
