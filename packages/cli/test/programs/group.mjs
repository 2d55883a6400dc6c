// The process group and the session of a rank, and of what it starts.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const own = readFileSync('/proc/self/stat', 'utf8');
const child = execFileSync('cat', ['/proc/self/stat'], { encoding: 'utf8' });
for (const [who, stat] of Object.entries({ rank: own, child })) {
  const [, , group, session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  console.log(`${who}: leads ${Number(group) === process.pid}, session ${session}`);
}
