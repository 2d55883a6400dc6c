import { describe, expect, it } from 'vitest';
import { ConfigError, MegatronError, ProcessGroupError } from '@megatron-ts/errors';

describe('MegatronError', () => {
  it('carries its code, sentence, fields and cause, and its class name', () => {
    const cause = new Error('below');
    const error = new ConfigError('INDIVISIBLE', 'mesh: 3 ranks do not divide by 2. Use 4.', { fields: { ranks: 3 }, cause });
    expect(error).toBeInstanceOf(MegatronError);
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe('ConfigError');
    expect(error.code).toBe('INDIVISIBLE');
    expect(error.fields).toEqual({ ranks: 3 });
    expect(error.cause).toBe(cause);
    expect(String(error)).toBe('ConfigError: mesh: 3 ranks do not divide by 2. Use 4.');
  });

  it('has no cause and no fields unless they are given', () => {
    const error = new ConfigError('INDIVISIBLE', 'x');
    expect('cause' in error).toBe(false);
    expect(error.fields).toEqual({});
  });

  it('puts the coordinates of the rank before its sentence, once', () => {
    const error = new ProcessGroupError('PEER_LOST', 'rank 2 exited. See its own error.');
    expect(error.locate('rank 3 (tp 1, dp 0)').locate('rank 9')).toBe(error);
    expect(error.message).toBe('rank 3 (tp 1, dp 0): rank 2 exited. See its own error.');
    expect(error.stack).toContain('ProcessGroupError: rank 3 (tp 1, dp 0): rank 2 exited.');
    expect(error.coordinates).toBe('rank 3 (tp 1, dp 0)');
  });

  it('refuses a code that the class does not have, when compiled', () => {
    // @ts-expect-error PEER_LOST is a code of ProcessGroupError
    expect(new ConfigError('PEER_LOST', 'x').code).toBe('PEER_LOST');
  });
});
