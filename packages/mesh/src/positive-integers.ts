/** A sentence for each value that is not a whole number of at least 1. */
export function positiveIntegerProblems(values: Readonly<Record<string, number>>): string[] {
  return Object.entries(values)
    .filter(([, value]) => !Number.isSafeInteger(value) || value < 1)
    .map(([name, value]) => `${name} is ${value}. Use a whole number of at least 1.`);
}
