/** What the doctor found of one thing. */
export interface DoctorRow {
  /** What was looked for. */
  readonly name: string;
  /** Whether it is there. */
  readonly state: string;
  /** Where, which version, or why not. */
  readonly details: string;
}

/** Rows as text: names and states in columns, details as they are. */
export function doctorTable(rows: readonly DoctorRow[]): string {
  const names = Math.max(...rows.map(({ name }) => name.length));
  const states = Math.max(...rows.map(({ state }) => state.length));
  return rows.map(({ name, state, details }) => `${name.padEnd(names)}  ${state.padEnd(states)}  ${details}`.trimEnd()).join('\n');
}
