import { availableParallelism, loadavg } from 'node:os';

const isCrowded = (loadavg()[0] ?? 0) > 2 * availableParallelism();

/**
 * What a failure may take to be told, beyond the limit of the operation: a second, as promised, or more where others want the cores so
 * much that a thread may wait as long for its turn.
 */
export const patienceMs = isCrowded ? 5000 : 1000;
