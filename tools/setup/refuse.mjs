/** Ends set-up with one sentence that says what is wrong and what to do. */
export function refuse(sentence) {
  console.error(`setup: ${sentence}`);
  process.exit(1);
}
