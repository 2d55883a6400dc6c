#!/usr/bin/env node
// Committed, so that npm links it before anything is built. Installed packages have dist, the repository has src.
import { existsSync } from 'node:fs';
import { register } from 'node:module';

const source = new URL('../src/cli.ts', import.meta.url);
const inRepository = existsSync(source);
if (inRepository) {
  // A stub cannot pass Node a flag: this hook stands for --conditions=@megatron-ts/source.
  const hook = `export const resolve = (name, context, next) => next(name, { ...context, conditions: [...context.conditions, '@megatron-ts/source'] });`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
  await import('tsx');
}
const { main } = await import(inRepository ? source.href : '../dist/cli.js');
process.exitCode = await main(process.argv.slice(2));
