import { ConfigError } from '@megatron-ts/errors';
import { ParallelContext } from '@megatron-ts/process-groups';
import type { Parameter } from '@megatron-ts/tensor';

/**
 * The context on which all of `parameters` were initialized.
 * @param where - who asks, as the error's sentence begins
 * @throws ConfigError MISSING_OPTION, NOT_INITIALIZED, INVALID_CONTEXT
 */
export function contextOf(where: string, parameters: readonly Parameter[]): ParallelContext {
  const [first] = parameters;
  if (first === undefined) throw new ConfigError('MISSING_OPTION', `${where}: the list of parameters is empty. Give model.parameters().`);
  const absent = parameters.filter(({ isInitialized }) => !isInitialized).length;
  if (absent > 0)
    throw new ConfigError(
      'NOT_INITIALIZED',
      `${where}: ${absent} of ${parameters.length} parameters have no memory yet. Call model.initialize(ctx) first.`,
    );
  const { context } = first;
  if (!(context instanceof ParallelContext))
    throw new ConfigError(
      'INVALID_CONTEXT',
      `${where}: parameter "${first.name}" was not initialized on a ParallelContext. Initialize the model with what `
        + 'initializeModelParallel() returns.',
    );
  const stranger = parameters.find((parameter) => parameter.context !== context);
  if (stranger !== undefined)
    throw new ConfigError(
      'INVALID_CONTEXT',
      `${where}: parameters "${first.name}" and "${stranger.name}" were initialized on different contexts. Use one context for all of `
        + 'them.',
    );
  return context;
}
