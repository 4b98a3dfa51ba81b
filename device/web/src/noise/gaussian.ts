/**
 * The discrete Gaussian, `P(X = x) ∝ exp(-x² / 2s²)`: tables as in `mechanisms/discrete_gaussian.py`, where the proof of
 * its distance from the exact distribution stands, and two of them for scales that are too wide for one
 * (`mechanisms/wide_gaussian.py`).
 */

import { InputError } from "../errors.ts";
import { expOfMinus, WORK } from "./exp.ts";
import { atMost, times, type Rational } from "./rational.ts";
import type { RandomStream } from "./stream.ts";
import { Table } from "./table.ts";

const TAIL = 100n; // a table ends where less than 2^-100 of the mass is left
const LEAST: Rational = { numerator: 1n, denominator: 16n };
const MOST_OF_ONE: Rational = { numerator: 1n << 16n, denominator: 1n };
/** Largest scale of all, as a power of two. */
export const MAX_WIDE_SCALE = 2 ** 27;
const MOST: Rational = { numerator: BigInt(MAX_WIDE_SCALE), denominator: 1n };
const FINE = 1n << 28n; // variance of the fine part
const STEP = 1 << 12; // width of a coarse step

/** Noise of one scale; what it gives are whole numbers. */
export interface IntegerNoise {
  sample(n: number, stream: RandomStream): Float64Array;
}

const tables = new Map<string, Table>();
const MOST_TABLES = 8; // of 3 MB at most, but for noise wider than any plan of a head needs

/**
 * Discrete Gaussian noise of this scale.
 *
 * @throws InputError when the scale is out of range.
 */
export function gaussianNoise(scale: Rational): IntegerNoise {
  if (!atMost(LEAST, scale) || !atMost(scale, MOST)) {
    throw new InputError("the noise's scale is out of range", "a larger ε, fewer steps or fewer parameters need less");
  }
  const variance = times(scale, scale);
  if (atMost(scale, MOST_OF_ONE)) return { sample: (n, stream) => gaussianTable(variance).sample(n, stream) };
  return { sample: (n, stream) => wide(variance, n, stream) };
}

/** X₁ + m·X₂ of variances 2^28 and (s² - 2^28)/m². */
function wide({ numerator, denominator }: Rational, n: number, stream: RandomStream): Float64Array {
  const fine = gaussianTable({ numerator: FINE, denominator: 1n });
  const coarse = gaussianTable({
    numerator: numerator - FINE * denominator,
    denominator: denominator * BigInt(STEP) ** 2n,
  });
  const sum = fine.sample(n, stream);
  const steps = coarse.sample(n, stream);
  return sum.map((cells, i) => cells + STEP * (steps[i] ?? NaN));
}

/** The table of the discrete Gaussian with this s²; a few are kept, since rounds of a run ask for the same. */
export function gaussianTable(variance: Rational): Table {
  const name = `${variance.numerator}/${variance.denominator}`;
  const kept = tables.get(name) ?? new Table(runningSums(variance));
  if (!tables.has(name) && tables.size >= MOST_TABLES) tables.clear();
  tables.set(name, kept);
  return kept;
}

/** `P(abs X ≤ k)·Z` for k = 0 … last, in units of 2^-256. */
function runningSums({ numerator, denominator }: Rational): bigint[] {
  const spread = 14n * TAIL * numerator;
  const last = squareRoot((spread + 10n * denominator - 1n) / (10n * denominator)) + 1n;
  const step = expOfMinus({ numerator: denominator, denominator: numerator });
  let ratio = expOfMinus({ numerator: denominator, denominator: 2n * numerator });
  let weight = 1n << WORK;
  let total = weight;
  const sums = [total];
  for (let k = 0n; k < last; k++) {
    weight = (weight * ratio) >> WORK;
    ratio = (ratio * step) >> WORK;
    total += 2n * weight;
    sums.push(total);
  }
  return sums;
}

/** ⌊√n⌋ (Newton). */
function squareRoot(n: bigint): bigint {
  let root = 1n << BigInt(Math.ceil(n.toString(2).length / 2));
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}
