// TypeScript that Node alone would not run.
await using ending = { [Symbol.asyncDispose]: () => Promise.resolve(console.log('disposed')) };
console.log(typeof ending);
