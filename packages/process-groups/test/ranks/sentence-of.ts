import { MegatronError } from '@megatron-ts/errors';

/** Code and sentence of the library's error that `f` throws. */
export function sentenceOf(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    if (error instanceof MegatronError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'nothing was refused';
}
