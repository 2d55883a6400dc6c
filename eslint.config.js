import { readFileSync } from 'node:fs';
import { parser, plugin } from 'typescript-eslint';
import { positionalParameters } from './tools/lint/positional-parameters.js';

const budget = JSON.parse(readFileSync(new URL('budget.json', import.meta.url), 'utf8'));
const house = { rules: { 'positional-parameters': positionalParameters } };

export default [
  { ignores: ['**/dist/', 'build/', 'target/', 'docs/api/', 'packages/native/', 'packages/onnx/src/generated/', '**/node_modules/'] },
  {
    files: ['**/*.ts'],
    languageOptions: { parser, parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { '@typescript-eslint': plugin, house },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // An unawaited collective is a hang.
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/only-throw-error': 'error',
      'house/positional-parameters': ['error', budget.positionalParameters],
      'max-lines-per-function': ['error', { max: budget.functionLines.fails }],
      'prefer-const': 'error',
      eqeqeq: 'error',
    },
  },
  {
    // Type tests do wrong things on purpose.
    files: ['tests/types/**/*.ts'],
    rules: { '@typescript-eslint/no-floating-promises': 'off', '@typescript-eslint/no-unused-vars': 'off' },
  },
  {
    // A test file is a table of sentences.
    files: ['**/test/**/*.ts', 'tests/**/*.ts'],
    rules: { 'max-lines-per-function': ['error', { max: budget.fileLines.tables }] },
  },
];
