import { ConfigError } from '@megatron-ts/errors';

/** Parts of a layer whose results need not be kept: attention's context, the MLP's activation, and both norms. */
export const recomputedParts = ['coreAttention', 'activation', 'norm'] as const;

/** A part of a layer whose result backward makes again instead of keeping it. */
export type RecomputedPart = (typeof recomputedParts)[number];

/** Whole layers that backward runs again, keeping the input of each block of them alone. */
export interface FullRecompute {
  /** `'uniform'` cuts all layers of a chunk into blocks of `numLayers`; `'block'` runs the first `numLayers` again, each by itself. */
  readonly method: 'uniform' | 'block';
  /** Layers of a block, or layers that are run again. */
  readonly numLayers: number;
}

/**
 * What backward computes again instead of keeping it: parts of each layer; or `'full'`, every layer by itself; or blocks of layers.
 * @source Korthikanti et al. 2022, section 5 (parts); Chen et al. 2016 (blocks)
 */
export type Recompute = 'full' | FullRecompute | readonly RecomputedPart[];

/** Layers that run one after another, and whether backward runs them again. */
export interface LayerBlock {
  /** Number of layers. */
  readonly count: number;
  /** Whether backward runs them again from their input. */
  readonly isRecomputed: boolean;
}

/** The parts of each layer that a setting names. @throws ConfigError INVALID_OPTION */
export function recomputedPartsOf(owner: string, setting: Recompute | undefined): ReadonlySet<RecomputedPart> {
  if (!isList(setting)) return new Set();
  const wrong = setting.find((part) => !recomputedParts.includes(part));
  if (wrong === undefined) return new Set(setting);
  const names = recomputedParts.map((part) => `"${part}"`).join(', ');
  throw new ConfigError('INVALID_OPTION', `${owner}: recompute names "${String(wrong)}". Use some of ${names}, or "full".`);
}

/** How `numLayers` layers of a chunk are cut into blocks. @throws ConfigError INVALID_OPTION */
export function layerBlocks(owner: string, numLayers: number, setting: Recompute | undefined): readonly LayerBlock[] {
  const each = (count: number, isRecomputed: boolean) => Array.from({ length: count }, () => ({ count: 1, isRecomputed }));
  if (setting === undefined || isList(setting)) return each(numLayers, false);
  const { method, numLayers: given } = setting === 'full' ? ({ method: 'uniform', numLayers: 1 } as const) : requireFull(owner, setting);
  if (method === 'block') {
    const again = Math.min(given, numLayers);
    return [...each(again, true), ...each(numLayers - again, false)];
  }
  const blocks = Array.from({ length: Math.ceil(numLayers / given) }, (_, i) => Math.min(given, numLayers - i * given));
  return blocks.map((count) => ({ count, isRecomputed: true }));
}

function isList(setting: Recompute | undefined): setting is readonly RecomputedPart[] {
  return Array.isArray(setting);
}

function requireFull(owner: string, setting: FullRecompute): FullRecompute {
  const { method, numLayers } = Object(setting) as Partial<FullRecompute>;
  const isMethod = method === 'uniform' || method === 'block';
  if (isMethod && Number.isSafeInteger(numLayers) && (numLayers ?? 0) >= 1) return setting;
  const text = typeof setting === 'string' ? `"${String(setting)}"` : JSON.stringify(setting);
  throw new ConfigError(
    'INVALID_OPTION',
    `${owner}: recompute is ${text}. Use "full", a list of parts such as ["activation", "norm"], or { method: "uniform" or "block", `
      + 'numLayers: a whole number of at least 1 }.',
  );
}
