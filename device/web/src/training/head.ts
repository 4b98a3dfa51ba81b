/**
 * A linear head on frozen features under example-level privacy, as `device/training/head.py`: softmax cross-entropy, whose
 * gradient for one example is (p - onehot(y)) ⊗ a with norm ‖p - onehot(y)‖·‖a‖, so clipping forms no gradient first.
 *
 * Each example's integers depend on that example and on the weights alone. From the integers on, every bit is Python's;
 * before, exponentials and sums may differ in the last one, which tips a rounding rarely: by estimate less than once in 10^10 numbers.
 */

import { InputError } from "../errors.ts";
import { drawExamples } from "../noise/drawing.ts";
import type { RandomStream } from "../noise/stream.ts";
import { Grid } from "./grid.ts";

/** What a round asks for under unit `example` (`privatePlan` makes it); see `TrainPlan` in `device/training/plan.py`. */
export interface PrivatePlan {
  /** Noisy sums of the round. */
  readonly steps: number;
  readonly learningRate: number;
  readonly momentum: number;
  readonly proximal: number;
  readonly clip: number;
  readonly noiseMultiplier: number;
  readonly denominator: number;
  readonly samplingRate: number;
}

/** Trains `head.weight`, (classes, features) with the bias's column included, row after row in one vector. */
export class HeadTrainer {
  /** Examples left out of steps so far; private like the data. */
  leftOut = 0;

  constructor(
    readonly classes: number,
    readonly features: number,
  ) {
    if (classes < 2 || features < 1) throw new InputError("a head needs two classes and a feature");
  }

  /** Length d of the vector. */
  get size(): number {
    return this.classes * this.features;
  }

  /**
   * One round; its event must have been debited.
   *
   * @param vector (d,), the head to start from.
   * @param x a feature vector for each example; values never raise: an example that cannot be used is left out.
   * @param y their classes.
   * @param stream noise, and who takes part in a step when the sampling rate is below 1; secret.
   * @returns (d,): the trained head less `vector`.
   * @param pause is awaited after each step with the share that is done, and may throw to stop.
   * @throws InputError when shapes do not fit.
   */
  async train(
    vector: Float32Array,
    x: readonly Float32Array[],
    y: readonly number[],
    plan: PrivatePlan,
    stream: RandomStream,
    pause: (share: number) => Promise<void> = () => Promise.resolve(),
  ): Promise<Float32Array> {
    if (vector.length !== this.size || x.length !== y.length || x.some((row) => row.length !== this.features)) {
      throw new InputError("vector, features and classes do not fit the head");
    }
    const start = Float64Array.from(vector);
    const weights = Float64Array.from(vector);
    const velocity = new Float64Array(this.size);
    const grid = new Grid(plan.clip, plan.noiseMultiplier, this.size);
    for (let step = 0; step < plan.steps; step++) {
      const chosen = drawExamples(x.length, plan.samplingRate, stream);
      const slope = grid.release(this.#integerSum(weights, chosen, x, y, grid), stream);
      advance(weights, start, slope, velocity, plan);
      if (step + 1 < plan.steps) await pause((step + 1) / plan.steps);
    }
    return Float32Array.from(weights, (weight, i) => weight - (start[i] ?? NaN));
  }

  #integerSum(
    weights: Float64Array,
    chosen: readonly number[],
    x: readonly Float32Array[],
    y: readonly number[],
    grid: Grid,
  ): Float64Array {
    const total = new Float64Array(this.size);
    const row = new Float64Array(this.size);
    for (const i of chosen) {
      const [a, label] = [x[i], y[i]];
      if (a === undefined || label === undefined) continue;
      const errors = this.#errors(weights, a, label);
      const factor = grid.factor(Math.sqrt(squares(a) * squares(errors)));
      errors.forEach((error, c) => {
        const scaled = error * factor;
        for (let k = 0; k < this.features; k++) row[c * this.features + k] = scaled * (a[k] ?? NaN);
      });
      if (!grid.add(row, total)) this.leftOut += 1;
    }
    return total;
  }

  /** p - onehot(y), (classes,); NaN where the class does not exist. */
  #errors(weights: Float64Array, a: Float32Array, label: number): Float64Array {
    const scores = new Float64Array(this.classes).map((_, c) =>
      a.reduce((sum, value, k) => sum + (weights[c * this.features + k] ?? NaN) * value, 0),
    );
    const highest = Math.max(...scores);
    const exps = scores.map((score) => Math.exp(score - highest));
    const whole = exps.reduce((sum, value) => sum + value, 0);
    if (!(label >= 0 && label < this.classes)) return exps.fill(NaN);
    return exps.map((value, c) => value / whole - (c === label ? 1 : 0));
  }
}

/** One step, in place: FedProx's pull, momentum, and the step itself, in Python's order of operations. */
function advance(
  weights: Float64Array,
  start: Float64Array,
  slope: Float64Array,
  velocity: Float64Array,
  plan: PrivatePlan,
): void {
  const divisor = plan.samplingRate * plan.denominator;
  for (let i = 0; i < weights.length; i++) {
    const [weight, from] = [weights[i] ?? NaN, start[i] ?? NaN];
    let step = (slope[i] ?? NaN) / divisor;
    if (plan.proximal !== 0) step += plan.proximal * (weight - from);
    if (plan.momentum !== 0) {
      step += (velocity[i] ?? NaN) * plan.momentum;
      velocity[i] = step;
    }
    weights[i] = weight - step * plan.learningRate;
  }
}

function squares(values: Float32Array | Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return sum;
}
