import { ambient } from './ambient.ts';

/** What a span of time was spent on. */
export type SpanKind = 'module' | 'backward' | 'weight gradient' | 'wait';

/** A span of one rank's time. */
export interface Span {
  /** A module's call, the backward of an operation, the computing of its weight gradients, or waiting for a collective. */
  readonly kind: SpanKind;
  /** Path of the module, or the operation and its place in the model. */
  readonly name: string;
  /** Its begin, in milliseconds since 1970. */
  readonly startMs: number;
  /** Its end. */
  readonly endMs: number;
}

/** Spans as they are written down, and what to add to `performance.now()`. */
export interface SpanRecorder {
  /** Spans in the order of their ends. */
  readonly spans: Span[];
  /** Milliseconds from 1970 to the origin of `performance.now()`. */
  readonly originMs: number;
}

/** Runs `f` and writes down what its time was spent on. Computing on a device that runs behind the program is not waited for. */
export function recordSpans<T>(f: () => T): { readonly result: T; readonly spans: readonly Span[] } {
  const outer = ambient.spans;
  const recorder: SpanRecorder = { spans: [], originMs: clockOrigin() };
  ambient.spans = recorder;
  try {
    return { result: f(), spans: recorder.spans };
  } finally {
    ambient.spans = outer;
  }
}

/** Runs `f`, and writes the span down where somebody asked for spans. */
export function inSpan<T>(kind: SpanKind, name: () => string, f: () => T): T {
  const recorder = ambient.spans;
  if (recorder === undefined) return f();
  const { originMs, spans } = recorder;
  const startMs = originMs + performance.now();
  try {
    return f();
  } finally {
    spans.push({ kind, name: name(), startMs, endMs: originMs + performance.now() });
  }
}

/**
 * `Date.now()` tells whole milliseconds: one that has just begun tells more. The clock of `performance.now()` does not follow the
 * system's. Being interrupted makes the difference smaller, so that the largest of a few is the best.
 */
function clockOrigin(): number {
  const origins = [0, 1, 2].map(() => {
    const before = Date.now();
    let now = before;
    while (now === before) now = Date.now();
    return now - performance.now();
  });
  return Math.max(...origins);
}
