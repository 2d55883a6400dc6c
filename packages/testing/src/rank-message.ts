/** What a test sends to a rank: which function to call, with what. Typed arrays keep their type. */
export interface RankCall {
  /** URL of the module. */
  readonly moduleUrl: string;
  /** Name of the function it exports. */
  readonly exportName: string;
  /** The function's arguments. */
  readonly args: readonly unknown[];
}

/** What a rank sends back. */
export interface RankReturn {
  /** What the function returned. */
  readonly value: unknown;
}
