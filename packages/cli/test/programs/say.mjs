// Prints its rank and arguments, and an unfinished line.
process.stdout.write(`rank ${process.env.RANK} of ${process.env.WORLD_SIZE} ${process.argv.slice(2).join(' ')}\n`);
process.stdout.write('unfinished');
