/**
 * Operation orders that the authors of each schedule print, for 4 ranks. F forward, X whole backward, B its input half, W its weight
 * half; upper case is chunk 0, lower case chunk 1; [F3+x1] is an overlapped pair; a W without a number belongs to the oldest B that
 * still waits for its own.
 * @source Huang et al. 2019 (GPipe); Narayanan et al. 2021 (1F1B, interleaved); Qi et al. 2023 and 2024 (zero bubble, ZBV);
 *   DeepSeek-AI 2025 (DualPipe).
 */
import {
  bidirectionalPlacement,
  interleavedPlacement,
  linearPlacement,
  type Schedule,
  scheduleFromCompute,
  type StagePlacement,
  turningPlacement,
} from '../src/index.ts';

/** One published schedule, with its times in units of F = B = W = 1 per chunk and its peaks in chunks. */
export interface PublishedSchedule {
  readonly name: string;
  readonly placement: StagePlacement;
  readonly lists: readonly string[];
  readonly makespan: number;
  readonly span: number;
  readonly peaks: readonly number[];
}

export const publishedSchedules: readonly PublishedSchedule[] = [
  {
    name: '1F1B',
    placement: linearPlacement(4),
    lists: [
      'F0 F1 F2 F3 X0 F4 X1 F5 X2 F6 X3 F7 X4 X5 X6 X7',
      'F0 F1 F2 X0 F3 X1 F4 X2 F5 X3 F6 X4 F7 X5 X6 X7',
      'F0 F1 X0 F2 X1 F3 X2 F4 X3 F5 X4 F6 X5 F7 X6 X7',
      'F0 X0 F1 X1 F2 X2 F3 X3 F4 X4 F5 X5 F6 X6 F7 X7',
    ],
    makespan: 33,
    span: 33,
    peaks: [4, 3, 2, 1],
  },
  {
    name: 'interleaved 1F1B, 2 chunks',
    placement: interleavedPlacement(4, 2),
    lists: [
      'F0 F1 F2 F3 f0 f1 f2 f3 F4 F5 F6 x0 F7 x1 f4 x2 f5 x3 f6 X0 f7 X1 X2 X3 x4 x5 x6 x7 X4 X5 X6 X7',
      'F0 F1 F2 F3 f0 f1 f2 f3 F4 x0 F5 x1 F6 x2 F7 x3 f4 X0 f5 X1 f6 X2 f7 X3 x4 x5 x6 x7 X4 X5 X6 X7',
      'F0 F1 F2 F3 f0 f1 f2 x0 f3 x1 F4 x2 F5 x3 F6 X0 F7 X1 f4 X2 f5 X3 f6 x4 f7 x5 x6 x7 X4 X5 X6 X7',
      'F0 F1 F2 F3 f0 x0 f1 x1 f2 x2 f3 x3 F4 X0 F5 X1 F6 X2 F7 X3 f4 x4 f5 x5 f6 x6 f7 x7 X4 X5 X6 X7',
    ],
    makespan: 57,
    span: 57,
    peaks: [11, 9, 7, 5],
  },
  {
    name: 'ZB-H1',
    placement: linearPlacement(4),
    lists: [
      'F0 F1 F2 F3 B0 W0 F4 B1 W1 F5 B2 W2 F6 B3 W3 F7 B4 W4 B5 W5 B6 W6 B7 W7',
      'F0 F1 F2 B0 F3 B1 W0 F4 B2 W1 F5 B3 W2 F6 B4 W3 F7 B5 W4 B6 W5 B7 W6 W7',
      'F0 F1 B0 F2 B1 F3 B2 W0 F4 B3 W1 F5 B4 W2 F6 B5 W3 F7 B6 W4 B7 W5 W6 W7',
      'F0 B0 F1 B1 F2 B2 F3 B3 W0 F4 B4 W1 F5 B5 W2 F6 B6 W3 F7 B7 W4 W5 W6 W7',
    ],
    makespan: 27,
    span: 27,
    peaks: [4, 3.5, 3, 2.5],
  },
  {
    name: 'ZB-H2',
    placement: linearPlacement(4),
    lists: [
      'F0 F1 F2 F3 F4 F5 F6 B0 F7 W0 B1 W1 B2 W2 B3 W3 B4 W4 B5 W5 B6 W6 B7 W7',
      'F0 F1 F2 F3 F4 B0 F5 B1 F6 B2 F7 B3 W0 B4 W1 B5 W2 B6 W3 B7 W4 W5 W6 W7',
      'F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 W0 B6 W1 B7 W2 W3 W4 W5 W6 W7',
      'F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7 W0 W1 W2 W3 W4 W5 W6 W7',
    ],
    makespan: 27,
    span: 24,
    peaks: [7.5, 6.5, 5.5, 4.5],
  },
  {
    name: 'ZBV',
    placement: turningPlacement(4),
    lists: [
      'F0 F1 F2 F3 F4 F5 F6 f0 b0 w0 f1 b1 w1 f2 b2 w2 f3 b3 w3 F7 B0 W0 f4 b4 w4 B1 W1 f5 b5 w5 B2 '
        + 'W2 f6 b6 w6 B3 W3 f7 b7 B4 w7 B5 W4 B6 W5 B7 W6 W7',
      'F0 F1 F2 F3 F4 f0 F5 f1 b0 w0 f2 b1 w1 f3 b2 w2 F6 B0 W0 f4 b3 w3 F7 B1 W1 f5 b4 w4 B2 W2 f6 '
        + 'b5 w5 B3 W3 f7 b6 B4 b7 B5 w6 B6 W4 B7 w7 W5 W6 W7',
      'F0 F1 F2 f0 F3 f1 F4 f2 b0 w0 f3 b1 w1 F5 B0 W0 f4 b2 w2 F6 B1 W1 f5 b3 w3 F7 B2 W2 f6 b4 w4 '
        + 'B3 W3 f7 b5 B4 b6 B5 b7 B6 w5 B7 W4 w6 W5 w7 W6 W7',
      'F0 f0 F1 f1 F2 f2 F3 f3 b0 w0 F4 B0 W0 f4 b1 w1 F5 B1 W1 f5 b2 w2 F6 B2 W2 f6 b3 w3 F7 B3 W3 '
        + 'f7 b4 B4 b5 B5 b6 B6 b7 B7 w4 W4 w5 W5 w6 W6 w7 W7',
    ],
    makespan: 51,
    span: 48,
    peaks: [8, 8, 8, 8],
  },
  {
    name: 'DualPipe',
    placement: bidirectionalPlacement(4),
    lists: [
      'F0 F1 F2 f0 b0 W f1 [F3+x1] [f2+X0] x2 [f3+X1] x3 B2 W B3 W',
      'F0 f0 F1 f1 F2 x0 [f2+X0] [F3+x1] [f3+X1] x2 X2 b3 B3 W W',
      'f0 F0 f1 F1 f2 X0 [F2+x0] [f3+X1] [F3+x1] X2 x2 B3 b3 W W',
      'f0 f1 f2 F0 B0 W F1 [f3+X1] [F2+x0] X2 [F3+x1] X3 b2 W b3 W',
    ],
    makespan: 26,
    span: 26,
    peaks: [5, 5, 5, 5],
  },
  {
    name: 'DualPipeV',
    placement: turningPlacement(4),
    lists: [
      'F0 F1 F2 F3 F4 F5 F6 f0 b0 W f1 b1 W f2 b2 W f3 [F7+x3] [f4+X0] x4 [f5+X1] x5 [f6+X2] x6 [f7+X3] x7 B4 W B5 W B6 W B7 W',
      'F0 F1 F2 F3 F4 f0 F5 f1 b0 W f2 b1 W f3 [F6+x2] [f4+X0] [F7+x3] [f5+X1] x4 [f6+X2] x5 [f7+X3] x6 X4 b7 B5 W B6 W B7 W W',
      'F0 F1 F2 f0 F3 f1 F4 f2 b0 W f3 [F5+x1] [f4+X0] [F6+x2] [f5+X1] [F7+x3] [f6+X2] x4 [f7+X3] x5 X4 x6 B5 b7 B6 W B7 W W W',
      'F0 f0 F1 f1 F2 f2 F3 f3 F4 x0 [f4+X0] [F5+x1] [f5+X1] [F6+x2] [f6+X2] [F7+x3] [f7+X3] x4 X4 x5 X5 b6 B6 b7 B7 W W W W',
    ],
    makespan: 54,
    span: 54,
    peaks: [9, 9, 9, 9],
  },
];

/** A published schedule with its communication. */
export function publishedSchedule({ name, placement, lists }: PublishedSchedule): Schedule {
  return scheduleFromCompute(
    name,
    lists.map((list) => translate(list, placement.routes.length)),
    { placement },
  );
}

/** From the published notation to that of `stepsFromText`. With two routes, microbatch n of direction d is 2 n + d. */
function translate(list: string, numRoutes: number): string {
  const waiting: string[] = [];
  return list.replace(/([FXBW])(\d*)/gi, (_word, letter: string, digits: string) => {
    const chunk = letter === letter.toUpperCase() ? 'a' : 'b';
    const microbatch = numRoutes === 1 ? digits : String(2 * Number(digits) + (chunk === 'a' ? 0 : 1));
    const kind = letter.toUpperCase();
    if (kind === 'B') waiting.push(microbatch + chunk);
    if (kind === 'W' && digits === '') return `W${waiting.shift() ?? ''}`;
    return `${{ F: 'F', X: 'B', B: 'I', W: 'W' }[kind] ?? ''}${microbatch}${chunk}`;
  });
}
