// Finishes what it does at the first signal.
process.on('SIGTERM', () => {
  console.log('finished the step');
  process.exit(0);
});
setInterval(() => undefined, 1000);
console.log(`pid ${process.pid}`);
