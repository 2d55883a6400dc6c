/** Export condition that names the TypeScript sources, in the repository alone. */
const sourceCondition = '@megatron-ts/source';
const inRepository = import.meta.url.endsWith('.ts');
const preload = new URL(inRepository ? './rank-preload.ts' : './rank-preload.js', import.meta.url).href;

/** Flags of Node under which a rank runs `script`: TypeScript, the sources when this is the repository, and the report of its death. */
export function nodeFlags(script: string): string[] {
  const flags = inRepository ? [`--conditions=${sourceCondition}`] : [];
  if (inRepository || /\.[cm]?tsx?$/.test(script)) flags.push('--import', import.meta.resolve('tsx'));
  return [...flags, '--import', preload];
}
