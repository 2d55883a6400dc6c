import { readFileSync } from 'node:fs';
import { OptionDefaults } from 'typedoc';

const { floors } = JSON.parse(readFileSync(new URL('budget.json', import.meta.url), 'utf8'));

/** @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  name: 'megatron-ts',
  entryPointStrategy: 'resolve',
  entryPoints: [
    ...['index', 'flight-recorder', 'schedule', 'testing'].map((name) => `packages/core/src/${name}.ts`),
    'packages/native/index.d.ts',
    'packages/onnx/src/index.ts',
  ],
  tsconfig: 'tsconfig.docs.json',
  readme: 'README.md',
  projectDocuments: ['ARCHITECTURE.md', 'CONTRIBUTING.md', 'docs/*.md', 'docs/guides/*.md', 'docs/parallelism/*.md', 'docs/decisions/*.md'],
  blockTags: [...OptionDefaults.blockTags, '@source'],
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  // What core re-exports lies in the rooms, and typedoc looks only into packages named here.
  packagesRequiringDocumentation: floors.map((room) => `@megatron-ts/${room}`),
  requiredToBeDocumented: [
    'Class',
    'Interface',
    'TypeAlias',
    'Function',
    'Method',
    'Accessor',
    'Property',
    'Variable',
    'Enum',
    'EnumMember',
  ],
  validation: {
    notExported: true,
    invalidLink: true,
    invalidPath: true,
    rewrittenLink: true,
    notDocumented: true,
    unusedMergeModuleWith: true,
  },
  treatWarningsAsErrors: true,
  // A clone without a remote has no links of its own to offer.
  disableGit: true,
  gitRevision: 'main',
  sourceLinkTemplate: 'https://github.com/megatron-ts/megatron-ts/blob/{gitRevision}/packages/{path}#L{line}',
  out: 'docs/api',
};
