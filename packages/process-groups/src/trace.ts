import { recordSpans, type Span } from '@megatron-ts/tensor';
import type { FlightRecord, RecordedOperation } from '@megatron-ts/flight-recorder';
import type { ParallelContext } from './parallel-context.ts';

/** An event of the Trace Event Format; times are in microseconds. */
export interface TraceEvent {
  /** What is written on it. */
  readonly name: string;
  /** `X` has a begin and a duration, `M` names a process or a track. */
  readonly ph: 'X' | 'M';
  /** World rank. */
  readonly pid: number;
  /** Track of the rank. */
  readonly tid: number;
  /** Its kind, by which viewers filter. */
  readonly cat?: string;
  /** Begin, from the begin of the trace. */
  readonly ts?: number;
  /** Duration. */
  readonly dur?: number;
  /** More to show. */
  readonly args?: Readonly<Record<string, string | number>>;
}

/** What `chrome://tracing` and Perfetto open once it is written as JSON; the events of several ranks may be put into one list. */
export interface ChromeTrace {
  /** Events in no order. */
  readonly traceEvents: readonly TraceEvent[];
}

/** What `traced` gives back. */
export interface Traced<T> {
  /** What the function returned. */
  readonly result: T;
  /** What this rank did meanwhile. */
  readonly trace: ChromeTrace;
}

const tracks = ['modules and backward', 'waiting', 'collectives'] as const;

/**
 * Runs `f`, such as a step, and tells what this rank did when: calls of modules, backwards and weight gradients on one track, waiting for
 * collectives on a second, and the collectives themselves, which go on beside, on a third.
 * @throws ProcessGroupError ABORTED after `destroy`
 */
export function traced<T>(ctx: ParallelContext, f: () => T): Traced<T> {
  const earlier = ctx.flightRecord();
  const { result, spans } = recordSpans(f);
  const record = ctx.flightRecord();
  const first = earlier.dropped + earlier.operations.length - record.dropped;
  return { result, trace: chromeTrace(spans, { ...record, operations: record.operations.slice(Math.max(0, first)) }) };
}

/** Spans of a rank's program and collectives that it recorded, as one trace. */
export function chromeTrace(spans: readonly Span[], { rank, host, operations }: FlightRecord): ChromeTrace {
  const begin = Math.min(...spans.map(({ startMs }) => startMs));
  const named = (name: string, tid: number, value: string): TraceEvent => ({ name, ph: 'M', pid: rank, tid, args: { name: value } });
  return {
    traceEvents: [
      named('process_name', 0, `rank ${rank} on ${host}`),
      ...tracks.map((track, tid) => named('thread_name', tid, track)),
      ...spans.map((span) => spanEvent(span, rank, begin)),
      ...operations.flatMap((operation) => operationEvent(operation, rank, begin)),
    ],
  };
}

function spanEvent({ kind, name, startMs, endMs }: Span, pid: number, begin: number): TraceEvent {
  const tid = kind === 'wait' ? 1 : 0;
  const text = kind === 'module' ? name : `${kind} of ${name}`;
  return {
    name: kind === 'wait' ? `wait for ${name}` : text,
    cat: kind,
    ph: 'X',
    pid,
    tid,
    ts: (startMs - begin) * 1000,
    dur: (endMs - startMs) * 1000,
  };
}

/** An operation that is still under way is left out. */
function operationEvent({ kind, label, dtype, count, startedMs, endedMs }: RecordedOperation, pid: number, begin: number): TraceEvent[] {
  if (startedMs === null || endedMs === null) return [];
  const name = label === '' ? kind : label;
  const args = { kind, dtype: dtype ?? '', count };
  return [{ name, cat: 'collective', ph: 'X', pid, tid: 2, ts: (startedMs - begin) * 1000, dur: (endedMs - startedMs) * 1000, args }];
}
