import { ConfigError } from '@megatron-ts/errors';
import { type Environment, type Launch, startedByMpi } from '@megatron-ts/launch';

/**
 * What moves data between ranks: `shm` shared memory on one host, `mpi` an MPI library found at run time, `sim` ranks that are threads of
 * one process, `fake` one rank alone of a world of any size, where nothing moves.
 */
export type Backend = 'shm' | 'mpi' | 'sim' | 'fake';

const choices: readonly string[] = ['auto', 'shm', 'mpi', 'sim', 'fake'];

/** What was asked for, by option or else by `MEGATRON_BACKEND`. @throws ConfigError INVALID_OPTION, INVALID_VARIABLE */
export function askedBackend(option: Backend | 'auto' | undefined, env: Environment = process.env): Backend | 'auto' {
  const variable = env['MEGATRON_BACKEND'] ?? '';
  const asked = option ?? (variable === '' ? 'auto' : variable);
  if (choices.includes(asked)) return asked as Backend | 'auto';
  const [code, name] =
    option === undefined ? (['INVALID_VARIABLE', 'MEGATRON_BACKEND'] as const) : (['INVALID_OPTION', 'backend'] as const);
  throw new ConfigError(code, `initializeModelParallel: ${name} "${asked}" is unknown. Use one of ${choices.join(', ')}.`);
}

/**
 * What moves the data of a launch: shared memory where all ranks are on this host, otherwise MPI.
 * @throws ConfigError CONTRADICTION when ranks are on several hosts and shared memory was asked for, or no MPI launcher started them
 */
export function backendFor(asked: Backend | 'auto', launch: Launch, env: Environment = process.env): Backend {
  const { worldSize, localWorldSize, source } = launch;
  if (asked !== 'auto' && asked !== 'shm') return asked;
  if (localWorldSize === worldSize) return 'shm';
  const hosts = `${localWorldSize} of ${worldSize} ranks are on this host`;
  if (asked === 'shm')
    throw new ConfigError('CONTRADICTION', `initializeModelParallel: backend shm moves data on one host, but ${hosts}. Use mpi or auto.`);
  if (startedByMpi(env)) return 'mpi';
  throw new ConfigError(
    'CONTRADICTION',
    `initializeModelParallel: ${hosts}, and ${source} started them, which hands out no MPI. Start them with mpirun -n ${worldSize} node <program>, or all on one host.`,
    { fields: { worldSize, localWorldSize, source } },
  );
}
