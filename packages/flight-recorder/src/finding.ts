/** What may be wrong with a world. */

/** The kinds of what may be wrong, the most telling first. */
export type FindingKind = 'lost' | 'disagreement' | 'circle' | 'behind' | 'failure';

/** What is wrong, in one sentence. */
export interface Finding {
  readonly kind: FindingKind;
  /** The whole of it, with who, where, and what to look at. */
  readonly sentence: string;
  /** World ranks to look at, in order. */
  readonly culprits: readonly number[];
}
