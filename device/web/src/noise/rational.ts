/** Exact fractions, as Python's `Fraction`: a float is the binary fraction that it is. */

/** In lowest terms, or not: nobody compares them. `denominator` is positive. */
export interface Rational {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** The exact value of a finite float. */
export function rationalOf(value: number): Rational {
  let [scaled, power] = [value, 0n];
  while (!Number.isInteger(scaled)) {
    scaled *= 2; // exact: only the exponent changes
    power += 1n;
  }
  return { numerator: BigInt(scaled), denominator: 1n << power };
}

export function times(a: Rational, b: Rational): Rational {
  return { numerator: a.numerator * b.numerator, denominator: a.denominator * b.denominator };
}

/** Whether a ≤ b. */
export function atMost(a: Rational, b: Rational): boolean {
  return a.numerator * b.denominator <= b.numerator * a.denominator;
}

/** ⌊a⌋ for a ≥ 0. */
export function floor({ numerator, denominator }: Rational): bigint {
  return numerator / denominator;
}
