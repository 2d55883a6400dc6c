import { ambient } from './ambient.ts';

/**
 * Where an error happens, as its sentence begins: `layers.3.mlp.up: linear`, and in a backward
 * `backward of linear in layers.3.mlp.up (forward at model.ts:12)`.
 */
export function where(op: string): string {
  const node = ambient.backwardNode;
  if (node !== undefined) {
    const line = node.line === undefined ? '' : ` (forward at ${node.line})`;
    const inner = op === node.op ? '' : `, ${op}`;
    return `backward of ${node.op}${node.frame === undefined ? '' : ` in ${node.frame.module.path}`}${line}${inner}`;
  }
  return ambient.frame === undefined ? op : `${ambient.frame.module.path}: ${op}`;
}

/** The first line of the call stack outside the library: `train.ts:12:7`. */
export function callerLine(): string | undefined {
  const frames = deepStack().split('\n').slice(1);
  const foreign = frames.find(
    (line) => !/packages\/[\w-]+\/src\/|node_modules|node:internal|core\/dist\//.test(line) && /:\d+:\d+/.test(line),
  );
  return foreign
    ?.trim()
    .replace(/^at /, '')
    .replace(/file:\/\/|.*\(|\)$/g, '');
}

/** Calls of modules within modules lie deeper than the ten frames that an error keeps by itself. */
function deepStack(): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 200;
  try {
    return new Error().stack ?? '';
  } finally {
    Error.stackTraceLimit = limit;
  }
}
