/** Rényi differential privacy, additive over releases: `security/privacy/accounting/rdp.py`, for integer noise. */

import { InputError } from "../errors.ts";

/** `steps` releases of a sum of L2 sensitivity Δ with Gaussian noise of standard deviation σ·Δ. */
export interface GaussianEvent {
  /** σ */
  readonly noiseMultiplier: number;
  /** Probability with which each example takes part in a step, by itself; 1 is everybody. */
  readonly samplingRate: number;
  readonly steps: number;
}

/** Orders α at which prices are held. */
const ORDERS: readonly number[] = [
  ...Array.from({ length: 99 }, (_, i) => 1 + (i + 1) / 10),
  ...Array.from({ length: 53 }, (_, i) => 11 + i),
  ...[64, 72, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024],
];
/** Share of δ kept for inexact sampling. */
const SAMPLER_SHARE = 2 ** -20;

/** @throws InputError when σ is not positive and finite, the rate not in [0, 1], or steps no count. */
export function gaussianEvent(noiseMultiplier: number, samplingRate: number, steps: number): GaussianEvent {
  const fits = noiseMultiplier > 0 && Number.isFinite(noiseMultiplier) && samplingRate >= 0 && samplingRate <= 1;
  if (!fits || !Number.isSafeInteger(steps) || steps < 0) throw new InputError("this is no release of Gaussian noise");
  return { noiseMultiplier, samplingRate, steps };
}

/**
 * The smallest ε at this δ that the events prove together (Canonne, Kamath, Steinke 2020, Proposition 12), and 0 where
 * δ² ≥ 1 - exp(-ε(α)) (Bretagnolle-Huber).
 *
 * @throws InputError when δ is not between 0 and 1.
 */
export function epsilon(events: readonly GaussianEvent[], delta: number): number {
  if (!(delta > 0 && delta < 1)) throw new InputError(`δ lies between 0 and 1, got ${delta}`);
  const usable = delta * (1 - SAMPLER_SHARE);
  const values = ORDERS.map((order) => events.reduce((sum, event) => sum + rdp(event, order), 0));
  if (-Math.expm1(-Math.min(...values)) <= usable ** 2) return 0;
  const found = ORDERS.map(
    (order, i) => (values[i] ?? Infinity) + Math.log1p(-1 / order) - (Math.log(usable) + Math.log(order)) / (order - 1),
  );
  return Math.max(0, Math.min(...found));
}

/** Rényi divergence bound at one order; infinite at fractional ones when the rate is below 1. */
function rdp({ noiseMultiplier, samplingRate, steps }: GaussianEvent, order: number): number {
  if (samplingRate === 0 || steps === 0) return 0;
  if (samplingRate === 1) return (steps * order) / (2 * noiseMultiplier ** 2);
  if (!Number.isInteger(order)) return Infinity;
  return (steps * logMoment(samplingRate, noiseMultiplier, order)) / (order - 1);
}

/**
 * Logarithm of E[(1 - q + q·Q/P)^α] at an integer α (Mironov, Talwar, Zhang 2019, section 3.3), as log1p of the excess:
 * no cancellation for small q.
 */
function logMoment(q: number, sigma: number, order: number): number {
  let excess = -Infinity;
  let logBinomial = Math.log(order); // of (α choose 1)
  for (let k = 2; k <= order; k++) {
    logBinomial += Math.log((order - k + 1) / k);
    const power = (k * (k - 1)) / (2 * sigma ** 2);
    const term = logBinomial + k * Math.log(q) + (order - k) * Math.log1p(-q) + power + Math.log(-Math.expm1(-power));
    excess = logAdd(excess, term);
  }
  return logAdd(0, excess);
}

function logAdd(a: number, b: number): number {
  const [low, high] = a < b ? [a, b] : [b, a];
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}
