import type { Part } from './part.ts';
import type { Side } from './side.ts';

/** Who computes attention, as `MEGATRON_ATTENTION` says: our kernels, cuDNN by its fastest algorithm, and with gradients in one order. */
export const attentionSettings = ['kernel', 'cudnn', 'auto'] as const;

/** One of them. */
export type AttentionSetting = (typeof attentionSettings)[number];

/** Our program of operations for each setting: the setting is read once, when a device is opened. */
export function attentionSides(part: Part): Readonly<Record<AttentionSetting, Side>> {
  const side = (setting: AttentionSetting) => part.ours('ops-worker.js', { MEGATRON_ATTENTION: setting });
  return { kernel: side('kernel'), cudnn: side('cudnn'), auto: side('auto') };
}

/** The settings under which an operation is looked at: attention of 16-bit elements under all of them. */
export function settingsOf({ op, dtype }: { readonly op: string; readonly dtype: string }): readonly AttentionSetting[] {
  return op === 'attention' && dtype === 'bf16' ? attentionSettings : ['kernel'];
}

/** What a row's name has beside the operation's. */
export function suffixOf(setting: AttentionSetting): string {
  return { kernel: '', cudnn: ' by cuDNN', auto: ' by cuDNN in one order' }[setting];
}
