/** Export condition that names the TypeScript sources, in the repository alone. */
const sourceCondition = '@megatron-ts/source';
const inRepository = import.meta.url.endsWith('.ts');
const preload = new URL(inRepository ? './rank-preload.ts' : './rank-preload.js', import.meta.url).href;

const conditions = inRepository ? [`--conditions=${sourceCondition}`] : [];

/** Flags of Node under which a rank runs `script`: TypeScript, the sources when this is the repository, and the report of its death. */
export function nodeFlags(script: string): string[] {
  const typescript = needsTypeScript(script) ? ['--import', import.meta.resolve('tsx')] : [];
  return [...conditions, ...typescript, '--import', preload];
}

/** Flags of Node under which a worker thread imports `script`. In a worker tsx starts only when it is told to. */
export function threadFlags(script: string): string[] {
  const start = () => `import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))}; register();`;
  const typescript = needsTypeScript(script) ? ['--import', `data:text/javascript,${encodeURIComponent(start())}`] : [];
  return [...conditions, ...typescript];
}

function needsTypeScript(script: string): boolean {
  return inRepository || /\.[cm]?tsx?$/.test(script);
}
