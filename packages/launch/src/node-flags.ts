/** Export condition that names the TypeScript sources, in the repository alone. */
const sourceCondition = '@megatron-ts/source';
const inRepository = import.meta.url.endsWith('.ts');
const preload = new URL(inRepository ? './rank-preload.ts' : './rank-preload.js', import.meta.url).href;

const conditions = inRepository ? [`--conditions=${sourceCondition}`] : [];

/**
 * Flags of Node under which a rank runs `script`: a process group of its own, TypeScript, the sources when this is the repository, and the
 * report of its death.
 */
export function nodeFlags(script: string): string[] {
  const typescript = needsTypeScript(script) ? ['--import', import.meta.resolve('tsx')] : [];
  return [...conditions, '--import', dataUrl(leadGroup()), ...typescript, '--import', preload];
}

/**
 * What a rank does first, before tsx starts processes of its own: it leads a process group, which Node gives a child only together with a
 * session of its own. Where the engine cannot be loaded, the program says so when it needs it.
 */
function leadGroup(): string {
  const engine = JSON.stringify(import.meta.resolve('@megatron-ts/native'));
  const lead = `(await import(${engine}).catch(() => undefined))?.default.leadProcessGroup();`;
  return `import { isMainThread } from 'node:worker_threads'; if (isMainThread) ${lead}`;
}

/** Flags of Node under which a worker thread imports `script`. In a worker tsx starts only when it is told to. */
export function threadFlags(script: string): string[] {
  const start = () => `import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))}; register();`;
  const typescript = needsTypeScript(script) ? ['--import', dataUrl(start())] : [];
  return [...conditions, ...typescript];
}

function dataUrl(program: string): string {
  return `data:text/javascript,${encodeURIComponent(program)}`;
}

function needsTypeScript(script: string): boolean {
  return inRepository || /\.[cm]?tsx?$/.test(script);
}
