/** Values that an error sentence speaks of, for programs that read errors. */
export type ErrorFields = Readonly<Record<string, unknown>>;

/** What an error carries besides its code and sentence. */
export interface ErrorDetails {
  /** The values the sentence names. */
  readonly fields?: ErrorFields;
  /** The error below this one. */
  readonly cause?: unknown;
}

/**
 * What every error of the library is. The sentence reads *where: what is wrong with these values. What to change.*;
 * programs tell errors apart by `code`.
 */
export class MegatronError<Code extends string = string> extends Error {
  /** Stable name of the mistake. */
  readonly code: Code;
  /** The values the sentence names. */
  declare readonly fields: ErrorFields;
  /** Coordinates of the rank that raised it, once `locate` has been called. */
  declare coordinates: string | undefined;

  constructor(code: Code, sentence: string, { fields = {}, cause }: ErrorDetails = {}) {
    super(sentence, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    // Not enumerable: an uncaught error shows its sentence and code, not every value once more.
    Object.defineProperty(this, 'fields', { value: fields });
    Object.defineProperty(this, 'coordinates', { value: undefined, writable: true });
  }

  /** Prefixes the sentence with a rank's coordinates, as in `rank 3 (tp 1, dp 0): …`; later calls change nothing. */
  locate(coordinates: string): this {
    if (this.coordinates !== undefined) return this;
    this.coordinates = coordinates;
    const { message, stack } = this; // V8 writes the stack when it is first read
    this.message = `${coordinates}: ${message}`;
    if (stack !== undefined) this.stack = stack.replace(message, () => this.message);
    return this;
  }
}
