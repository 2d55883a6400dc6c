import { readdirSync, readFileSync } from 'node:fs';
import { defineConfig, type Options } from 'tsup';

interface Manifest {
  readonly version: string;
  readonly private?: boolean;
}

const manifestOf = (room: string): Manifest => JSON.parse(readFileSync(`packages/${room}/package.json`, 'utf8')) as Manifest;
const entriesOf = (names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((name) => [name, `packages/core/src/${name}.ts`]));

// Declarations are inlined only when TypeScript does not see a package in node_modules: hence paths, for the private rooms alone.
const privateRooms = readdirSync('packages').filter((room) => manifestOf(room).private === true);
const paths = Object.fromEntries(privateRooms.map((room) => [`@megatron-ts/${room}`, [`./packages/${room}/src/index.ts`]]));
const publicEntries = ['index', 'flight-recorder', 'schedule', 'testing'];

// What is true of every published package.
const shared: Options = {
  format: 'esm',
  target: 'node20',
  splitting: true,
  sourcemap: true,
  clean: true,
  tsconfig: 'tsconfig.bundle.json',
};
const declarations = { ignoreDeprecations: '6.0', composite: false };

export default defineConfig([
  {
    ...shared,
    name: 'core',
    // Programs of their own, which stand beside the code that starts them.
    entry: {
      ...entriesOf([...publicEntries, 'cli']),
      'rank-preload': 'packages/launch/src/rank-preload.ts',
      'rank-boot': 'packages/testing/src/rank-boot.ts',
      'rank-thread': 'packages/testing/src/rank-thread.ts',
    },
    outDir: 'packages/core/dist',
    noExternal: [/^@megatron-ts\/(?!native$)/],
    external: ['@megatron-ts/native', 'tsx'],
    esbuildOptions: (options) => {
      options.conditions = ['@megatron-ts/source'];
      options.define = { ...options.define, __MEGATRON_VERSION__: JSON.stringify(manifestOf('core').version) };
    },
    dts: {
      entry: entriesOf(publicEntries),
      // The public types name Symbol.dispose, which a user's lib may lack.
      banner: '/// <reference lib="esnext.disposable" />',
      compilerOptions: { ...declarations, paths },
    },
  },
  {
    ...shared,
    name: 'onnx',
    entry: { index: 'packages/onnx/src/index.ts' },
    outDir: 'packages/onnx/dist',
    // A core of its own would be a second class Tensor.
    external: ['@megatron-ts/core'],
    dts: { compilerOptions: declarations },
  },
]);
