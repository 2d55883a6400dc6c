import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

describe('@megatron-ts/native', () => {
  it('says in one sentence that the engine is missing, and what to do', () => {
    const folder = mkdtempSync(join(tmpdir(), 'megatron-native-'));
    const door = join(folder, 'index.cjs');
    copyFileSync(fileURLToPath(new URL('../../packages/native/index.js', import.meta.url)), door);
    const platform = `${process.platform}-${process.arch}`;
    expect(() => createRequire(door)(door)).toThrow(
      expect.objectContaining({
        name: 'EngineError',
        code: 'ENGINE_MISSING',
        message: `@megatron-ts/native: the engine for ${platform} is missing or cannot be loaded. Install @megatron-ts/core again, without --omit=optional.`,
      }),
    );
    rmSync(folder, { recursive: true });
  });
});
