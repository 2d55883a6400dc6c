import { bytesPerElement, globalNumel, type Module, type Parameter } from '@megatron-ts/tensor';
import { formatBytes, formatCount } from './format-quantity.ts';
import { textTable } from './text-table.ts';

interface Row {
  readonly name: string;
  readonly form: string;
  readonly parameters: readonly Parameter[];
}

/** How many numbers parameters hold. */
export interface ParameterCount {
  /** On this rank. */
  readonly local: number;
  /** In the whole tensors of which this rank holds parts. */
  readonly global: number;
  /** Bytes on this rank. */
  readonly bytes: number;
}

/** Counts parameters; a tied weight counts once. */
export function countParameters(parameters: readonly Parameter[]): ParameterCount {
  const own = parameters.filter(({ tiedTo }) => tiedTo === undefined);
  return {
    local: own.reduce((sum, { numel }) => sum + numel, 0),
    global: own.reduce((sum, { meta }) => sum + globalNumel(meta), 0),
    bytes: own.reduce((sum, { numel, dtype }) => sum + numel * bytesPerElement(dtype), 0),
  };
}

/**
 * This rank's part of the model as a tree: every module and parameter with its parameters here, on all ranks that share it, and bytes here.
 * Works before `initialize`: nothing is allocated.
 */
export function summary(model: Module): string {
  const parameters = model.namedParameters();
  const rows: Row[] = [...model.namedModules()].map(([path, module]) => ({
    name: path,
    form: module.constructor.name,
    parameters: [...parameters].flatMap(([name, parameter]) => (path === '' || name.startsWith(`${path}.`) ? [parameter] : [])),
  }));
  for (const [name, parameter] of parameters)
    rows.push({ name, form: `${parameter.dtype} [${parameter.shape.join(', ')}]`, parameters: [parameter] });
  const names = [...parameters.keys()];
  rows.sort((a, b) => order(a.name, names) - order(b.name, names) || a.name.length - b.name.length);
  return textTable([['module', 'form', 'local', 'global', 'bytes'], ...rows.map((row) => cells(row, rows))], 2);
}

/** Modules stand where their first parameter stands. */
function order(name: string, names: readonly string[]): number {
  const at = names.findIndex((parameter) => name === '' || parameter === name || parameter.startsWith(`${name}.`));
  return at === -1 ? names.length : at;
}

function cells({ name, form, parameters }: Row, rows: readonly Row[]): string[] {
  const { local, global, bytes } = countParameters(parameters);
  const above = rows.map((row) => row.name).filter((other) => name !== '' && (other === '' || name.startsWith(`${other}.`)));
  const parent = above.reduce((longest, other) => (other.length > longest.length ? other : longest), '');
  const label = name === '' ? 'model' : name.slice(parent === '' ? 0 : parent.length + 1);
  const tied = parameters.length === 1 && parameters[0]?.tiedTo !== undefined && name !== '' ? ' (tied)' : '';
  return [`${'  '.repeat(above.length)}${label}${tied}`, form, formatCount(local), formatCount(global), formatBytes(bytes)];
}
