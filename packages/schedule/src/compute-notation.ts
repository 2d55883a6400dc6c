/**
 * Computations as short text, as pictures show them: `F0` forward, `B0` backward, `I0` and `W0` its input and weight halves, the
 * number being the microbatch; a letter behind it is the chunk (`F0b` is chunk 1); `[F3a+B1b]` is an overlapped pair.
 */
import { ConfigError } from '@megatron-ts/errors';
import type { ComputeKind, ComputeStep, Step } from './action.ts';

const letterOf: Readonly<Record<ComputeKind, string>> = { forward: 'F', backward: 'B', backwardInput: 'I', backwardWeight: 'W' };
const kindOf = Object.fromEntries(Object.entries(letterOf).map(([kind, letter]) => [letter, kind])) as Readonly<
  Record<string, ComputeKind>
>;

/**
 * The steps of one rank from text such as `F0 F1 B0 B1`.
 * @throws ConfigError INVALID_SCHEDULE for a word it does not know.
 */
export function stepsFromText(text: string): Step[] {
  return text
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => {
      const pair = /^\[([^+]+)\+([^+]+)\]$/.exec(word);
      return pair === null
        ? computeFromWord(word)
        : { kind: 'overlap', parts: [computeFromWord(pair[1] ?? ''), computeFromWord(pair[2] ?? '')] };
    });
}

/** The word of a step; the chunk is left out where a rank has one. */
export function stepToText(step: Step, numChunks: number): string {
  if (step.kind === 'overlap') return `[${step.parts.map((part) => stepToText(part, numChunks)).join('+')}]`;
  return `${letterOf[step.kind]}${step.microbatch}${numChunks > 1 ? String.fromCharCode(firstChunkLetter + (step.chunk ?? 0)) : ''}`;
}

const firstChunkLetter = 'a'.charCodeAt(0);

function computeFromWord(word: string): ComputeStep {
  const [, letter = '', microbatch = '', chunk = 'a'] = /^([FBIW])(\d+)([a-z])?$/.exec(word) ?? [];
  const kind = kindOf[letter];
  if (kind !== undefined) return { kind, microbatch: Number(microbatch), chunk: chunk.charCodeAt(0) - firstChunkLetter };
  const sentence =
    `schedule: "${word}" is not a computation. ` + 'Write F, B, I or W, the microbatch, and a letter for the chunk, as in F0, B12 or F3b.';
  throw new ConfigError('INVALID_SCHEDULE', sentence, { fields: { word } });
}
