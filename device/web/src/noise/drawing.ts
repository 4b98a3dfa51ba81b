/** Poisson sampling, as `draw_examples` in `device/training/descent.py`. */

import { floor, rationalOf, times } from "./rational.ts";
import type { RandomStream } from "./stream.ts";

/**
 * The indices of those that take part, each by itself with probability `rate` (or 2^-64 less). At rate 1 it is everybody
 * and nothing is drawn.
 */
export function drawExamples(count: number, rate: number, stream: RandomStream): number[] {
  const all = Array.from({ length: count }, (_, i) => i);
  if (rate === 1) return all;
  const threshold = floor(times(rationalOf(rate), { numerator: 1n << 64n, denominator: 1n }));
  const words = stream.uint64(count);
  return all.filter((i) => (words[i] ?? threshold) < threshold);
}
