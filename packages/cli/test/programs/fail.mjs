// The rank named first fails as named second; the others ignore SIGTERM and would stay for ever.
import { spawn } from 'node:child_process';

const [culprit, how] = process.argv.slice(2);
console.log(`pid ${process.pid}`);
process.on('SIGTERM', () => console.log('will not go'));
setInterval(() => undefined, 1000);
const grandchild = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)'], { stdio: 'inherit' });
console.log(`pid ${grandchild.pid}`);

if (process.env.RANK === culprit) {
  setTimeout(() => {
    if (how === 'throw') throw new RangeError('no room left');
    if (how === 'exit') {
      console.error('giving up');
      process.exit(7);
    }
    process.kill(process.pid, 'SIGKILL');
  }, 300);
}
