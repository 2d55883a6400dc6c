import { ambient, engine } from '@megatron-ts/tensor';
import type { CollectiveOptions } from './collective-options.ts';

const labels = new Map<string, number>();

/** The engine's number for what an operation is called: its label, or the path of the module that runs. */
export function labelOf({ label }: CollectiveOptions): number {
  const text = label ?? ambient.frame?.module.path ?? '';
  if (text === '') return 0;
  let id = labels.get(text);
  if (id === undefined) labels.set(text, (id = engine.internLabel(text)));
  return id;
}
