import { EngineError, ProcessGroupError } from '@megatron-ts/errors';
import * as native from '@megatron-ts/native';
import { where } from './where-in-model.ts';

type Native = typeof native;
type Call = (...args: unknown[]) => unknown;

const groupCodes = new Set(['PEER_LOST', 'MISMATCH', 'TIMEOUT', 'ABORTED', 'JOIN_FAILED']);

/** Turns what the engine threw into the library's classes; `where` adds the module and the forward line. */
function translate(name: string, cause: unknown): Error {
  const { code, message } = cause as { code?: string; message?: string };
  const sentence = message ?? String(cause);
  if (code !== undefined && groupCodes.has(code)) {
    const culprits = (code === 'JOIN_FAILED' ? undefined : native.lastFailure()?.culprits) ?? [];
    return new ProcessGroupError(code as 'TIMEOUT', sentence, { fields: { culprits } }); // its cause would say the same again
  }
  const place = where(name);
  const text = place === name || sentence.startsWith(place) ? sentence : `${place}: ${sentence}`;
  return new EngineError(code === 'OUT_OF_MEMORY' || code === 'ENGINE_PANIC' ? code : 'ENGINE_REFUSED', text, { cause });
}

// Twelve fixed parameters instead of a rest array: no allocation on a crossing (no engine function takes more).
function guard(name: string, f: Call): Call {
  return (a, b, c, d, e, g, h, i, j, k, l, m) => {
    try {
      return f(a, b, c, d, e, g, h, i, j, k, l, m);
    } catch (cause) {
      throw translate(name, cause);
    }
  };
}

/** The engine's functions; what they throw arrives as `EngineError` or `ProcessGroupError`. */
export const engine: Native = Object.freeze(
  Object.fromEntries(
    Object.entries(native as unknown as Record<string, unknown>)
      .filter((entry): entry is [string, Call] => typeof entry[1] === 'function')
      .map(([name, f]) => [name, guard(name, f)]),
  ),
) as unknown as Native;
