/** Two sets of numbers that should agree do not. Test runners show `actual` and `expected`. */
export class ComparisonError extends Error {
  /** Position of the worst element; undefined when the lengths differ. */
  readonly index: number | undefined;
  /** What was computed there. */
  readonly actual: number;
  /** What it should have been. */
  readonly expected: number;

  constructor(
    sentence: string,
    { index, actual, expected }: { readonly index?: number; readonly actual: number; readonly expected: number },
  ) {
    super(sentence);
    this.name = 'ComparisonError';
    this.index = index;
    this.actual = actual;
    this.expected = expected;
  }
}
