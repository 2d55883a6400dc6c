import { createInterface } from 'node:readline';
import type { Question } from './side.ts';

/** What is done for each word of `do`. */
export type Answers = Readonly<Record<string, (question: never) => object | Promise<object>>>;

/** After these a device's context is of no use any more. */
const fatal = /Nothing more runs on the device|out of memory/;

/** Answers the questions of a `Side`, until there are no more. An error is an answer: its sentence. */
export async function answer(answers: Answers): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const question = JSON.parse(line) as Question;
    process.stdout.write(`${JSON.stringify(await answerOne(answers, question))}\n`);
  }
}

async function answerOne(answers: Answers, question: Question): Promise<object> {
  const f = answers[question.do] as ((question: Question) => object | Promise<object>) | undefined;
  if (f === undefined) return { error: `gpu-pack: there is no "${question.do}". Ask for one of ${Object.keys(answers).join(', ')}.` };
  try {
    return await f(question);
  } catch (cause) {
    const { message } = cause as Error;
    return { error: message, isFatal: fatal.test(message) };
  }
}
