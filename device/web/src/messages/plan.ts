/** What a device is asked to do in one round, checked as `device/training/plan.py` checks it: it comes from a server. */

import { Float, type CborMap, type CborValue } from "../canonical/index.ts";
import { InputError } from "../errors.ts";
import { gaussianEvent, type GaussianEvent } from "../privacy/rdp.ts";
import type { PrivatePlan } from "../training/head.ts";

const MOST_EPOCHS = 100;
const MOST_VIEWS = 16;
const LARGEST = 1e12;
const LEAST_RATE = 1e-4;
const REPLAYS = 4; // of each batch by `free`: `replays` in security/adversarial/recipe.py

/** Default and kind of every setting: whole numbers, numbers, and words of a list. */
const COUNTS = { epochs: 1, batch_size: 0, views: 1, denominator: 1, rounds: 1, separation: 0 };
const NUMBERS = {
  learning_rate: NaN, // must be given
  momentum: 0,
  proximal: 0,
  gradient_clip: 0,
  adversarial_epsilon: 0,
  clip: 1,
  noise_multiplier: 0,
  sampling_rate: 1,
  cohort_rate: 1,
};
const WORDS = {
  unit: ["", "example", "device", "none"], // must be given
  augment: ["none", "shift", "motion"],
  adversarial: ["none", "fgsm_rs", "n_fgsm", "free", "pgd", "trades"],
  adversarial_norm: ["linf", "l2"],
  engine: ["skerry", "bookkeeping", "opacus"],
};

/** A plan whose every value is in range; the names are those of `TrainPlan`, which says what they mean. */
export type TrainPlan = Readonly<
  Record<keyof typeof COUNTS | keyof typeof NUMBERS, number> & Record<keyof typeof WORDS, string>
>;

/** @throws InputError when a value is of the wrong type or out of range, or there is an unknown setting. */
export function readPlan(fields: CborMap): TrainPlan {
  const known = [COUNTS, NUMBERS, WORDS].flatMap((group) => Object.keys(group));
  const unknown = [...fields.keys()].filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new InputError(`a training plan has no setting ${unknown.join()}`);
  const plan = {
    ...mapped(COUNTS, (name, usual) => count(fields.get(name), usual)),
    ...mapped(NUMBERS, (name, usual) => number(fields.get(name), usual)),
    ...mapped(WORDS, (name, words) => word(fields.get(name), words)),
  };
  checkRanges(plan);
  checkPrivacy(plan);
  checkAttacks(plan);
  return plan;
}

/** What the plan spends of each unit's privacy; `null`: it is not protected at all. */
export function eventOf(plan: TrainPlan): GaussianEvent | null {
  if (plan.unit === "none") return null;
  if (plan.unit === "device") {
    return gaussianEvent(plan.noise_multiplier, plan.cohort_rate, plan.separation === 0 ? plan.rounds : 1);
  }
  return gaussianEvent(plan.noise_multiplier, plan.sampling_rate, stepsOf(plan));
}

/** Releases of a round under unit `example`: what is promised, debited and done counts by this one function. */
export function stepsOf(plan: Pick<TrainPlan, "epochs" | "sampling_rate" | "adversarial">): number {
  return plan.epochs * rounded(1 / plan.sampling_rate) * (plan.adversarial === "free" ? REPLAYS : 1);
}

/**
 * The plan as a head is trained by here, which does all that it asks for.
 *
 * @throws InputError when it asks for what heads in browsers do not do: another unit, attacks, views, changed examples.
 */
export function privatePlan(plan: TrainPlan): PrivatePlan {
  const { unit, adversarial, augment, views } = plan;
  if (unit !== "example" || adversarial !== "none" || augment !== "none" || views !== 1) {
    const what = `unit ${unit}, adversarial ${adversarial}, augment ${augment}, views ${views}`;
    throw new InputError(`a head is not trained by ${what} here`, "use unit example, and examples as they are");
  }
  return {
    steps: stepsOf(plan),
    learningRate: plan.learning_rate,
    momentum: plan.momentum,
    proximal: plan.proximal,
    clip: plan.clip,
    noiseMultiplier: plan.noise_multiplier,
    denominator: plan.denominator,
    samplingRate: plan.sampling_rate,
  };
}

/** Under unit `device`, what the noise is for that the event does not say; empty otherwise. */
export function promiseOf(plan: TrainPlan): string {
  return plan.unit === "device" ? `${plan.rounds} rounds, ${plan.separation} apart` : "";
}

function mapped<K extends string, V, R>(group: Record<K, V>, read: (name: K, value: V) => R): Record<K, R> {
  const names = Object.keys(group) as K[];
  return Object.fromEntries(names.map((name) => [name, read(name, group[name])])) as Record<K, R>;
}

function count(value: CborValue | undefined, usual: number): number {
  if (value === undefined) return usual;
  if (typeof value !== "number" || Math.abs(value) > LARGEST) throw new InputError("a plan holds whole numbers");
  return value;
}

function number(value: CborValue | undefined, usual: number): number {
  const found = value === undefined ? usual : value instanceof Float ? value.value : value;
  if (typeof found !== "number" || !(Math.abs(found) <= LARGEST)) throw new InputError("a plan holds finite numbers");
  return found;
}

/** Python's `round` of a positive number: a half goes to the even one. */
function rounded(exact: number): number {
  const down = Math.floor(exact);
  const up = exact - down > 0.5 || (exact - down === 0.5 && down % 2 === 1);
  return up ? down + 1 : down;
}

function word(value: CborValue | undefined, words: readonly string[]): string {
  const found = value === undefined ? words[0] : value;
  if (typeof found !== "string" || found === "" || !words.includes(found)) {
    throw new InputError(`a training plan says one of ${words.filter(Boolean).join(", ")}`);
  }
  return found;
}

function need(holds: boolean, what: string): void {
  if (!holds) throw new InputError(`a training plan needs ${what}`);
}

function checkRanges(plan: TrainPlan): void {
  need(plan.epochs >= 1 && plan.epochs <= MOST_EPOCHS, `1 to ${MOST_EPOCHS} epochs`);
  need(plan.batch_size >= 0 && plan.denominator >= 1, "batch_size ≥ 0 and denominator ≥ 1");
  need(plan.learning_rate > 0 && plan.momentum >= 0 && plan.momentum < 1, "learning_rate > 0 and 0 ≤ momentum < 1");
  need(plan.proximal >= 0 && plan.gradient_clip >= 0, "proximal ≥ 0 and gradient_clip ≥ 0");
  need(plan.views >= 1 && plan.views <= MOST_VIEWS, `1 to ${MOST_VIEWS} views`);
  need(plan.rounds >= 1 && plan.separation >= 0, "rounds ≥ 1 and separation ≥ 0");
  need(plan.cohort_rate > 0 && plan.cohort_rate <= 1, "0 < cohort_rate ≤ 1");
}

function checkPrivacy(plan: TrainPlan): void {
  const { unit } = plan;
  need(unit === "none" || (plan.clip > 0 && plan.noise_multiplier > 0), "clip > 0 and noise_multiplier > 0");
  need(unit !== "example" || plan.batch_size === 0, "batch_size 0 under example-level privacy");
  need(unit !== "example" || plan.gradient_clip === 0, "gradient_clip 0 under example-level privacy");
  need(plan.sampling_rate >= LEAST_RATE && plan.sampling_rate <= 1, `a sampling rate from ${LEAST_RATE} to 1`);
  need(unit === "example" || plan.sampling_rate === 1, "unit example to sample");
  need(plan.separation === 0 || plan.cohort_rate === 1, "everybody where noise is correlated");
}

function checkAttacks(plan: TrainPlan): void {
  const attacked = plan.adversarial !== "none";
  need(plan.adversarial_epsilon >= 0 && attacked === plan.adversarial_epsilon > 0, "a radius where there is an attack");
  need(!attacked || plan.views === 1, "one view of what is attacked");
  need(!attacked || plan.unit !== "example" || plan.engine === "skerry", "engine skerry for attacks under privacy");
}
