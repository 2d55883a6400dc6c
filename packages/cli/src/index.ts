import { MegatronError } from '@megatron-ts/errors';

/** The commands, each imported when it is used. */
const commands = {
  run: async (args: readonly string[]) => (await import('./run.ts')).run(args),
  doctor: async (args: readonly string[]) => (await import('./doctor.ts')).doctor(args),
  diagnose: async (args: readonly string[]) => (await import('./diagnose.ts')).diagnose(args),
} satisfies Record<string, (args: readonly string[]) => Promise<number>>;

const help = `Usage: megatron-ts <command> [options]

  run         starts a program on several ranks; see megatron-ts run --help
  doctor      tells what this machine has for training; see megatron-ts doctor --help
  diagnose    names the rank that made a run hang; see megatron-ts diagnose --help
`;

function isCommand(name: string): name is keyof typeof commands {
  return Object.hasOwn(commands, name);
}

/** Runs `megatron-ts <command> …`; resolves to the exit status: 2 when the command line is wrong. */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h') {
    (name === undefined ? process.stderr : process.stdout).write(help);
    return name === undefined ? 2 : 0;
  }
  if (!isCommand(name)) {
    process.stderr.write(`megatron-ts: there is no command ${JSON.stringify(name)}. Use ${Object.keys(commands).join(', ')}, or --help.\n`);
    return 2;
  }
  try {
    return await commands[name](rest);
  } catch (error) {
    if (!(error instanceof MegatronError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 2;
  }
}
