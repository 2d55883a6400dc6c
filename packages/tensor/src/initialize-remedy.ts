import { ambient } from './ambient.ts';

/** What to do about something that is used before `initialize`: it was not called, or did not reach a child of the running module. */
export function initializeRemedy(): string {
  const caller = ambient.frame?.module;
  if (caller === undefined) return 'Call initialize(ctx) on the model first.';
  return `${caller.path} is initialized but does not reach it: keep it in a field, an array, a Map or a plain object.`;
}
