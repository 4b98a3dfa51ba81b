/** Exponentials in fixed point, to more bits than a float has. */

import type { Rational } from "./rational.ts";

/** Bits after the binary point of a result. */
export const WORK = 256n;
const INNER = 512n; // while computing: squaring loses at most two bits a time
const HALVINGS = 24n;

/**
 * ⌊2^256·exp(-x)⌋ for 0 ≤ x ≤ 2^10, wherever the exact value is not within 2^-200 of an integer (as Python's, which
 * takes 100 decimal digits).
 */
export function expOfMinus({ numerator, denominator }: Rational): bigint {
  const reduced = (numerator << INNER) / (denominator << HALVINGS);
  let term = 1n << INNER;
  let sum = term;
  for (let k = 1n; term !== 0n; k++) {
    term = (term * -reduced) / (k << INNER); // towards zero, so that it ends
    sum += term;
  }
  for (let i = 0n; i < HALVINGS; i++) sum = (sum * sum) >> INNER;
  return sum >> (INNER - WORK);
}
