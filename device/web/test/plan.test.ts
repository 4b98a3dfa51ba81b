/** What a head is not trained by in a browser is refused, never done in part. */

import { expect, it } from "vitest";
import { Float, mapOf, type CborValue } from "../src/canonical/index.ts";
import { InputError } from "../src/errors.ts";
import { privatePlan, readPlan, stepsOf } from "../src/messages/plan.ts";

const PLAIN = { unit: "example", learning_rate: 1, noise_multiplier: 3, epochs: 2, sampling_rate: new Float(0.5) };

function planWith(changes: Readonly<Record<string, CborValue>>): ReturnType<typeof readPlan> {
  return readPlan(mapOf({ ...PLAIN, ...changes }));
}

it("takes as many steps as it debits", () => {
  expect(privatePlan(planWith({})).steps).toBe(stepsOf(planWith({})));
  expect(privatePlan(planWith({})).steps).toBe(4);
});

it.each<[string, Readonly<Record<string, CborValue>>]>([
  ["attacks", { adversarial: "free", adversarial_epsilon: new Float(0.1) }],
  ["views", { views: 2 }],
  ["changed examples", { augment: "shift" }],
  ["unit device", { unit: "device", sampling_rate: 1 }],
  ["unit none", { unit: "none", sampling_rate: 1 }],
])("trains no head by a plan with %s", (_, changes) => {
  const plan = planWith(changes);
  expect(() => privatePlan(plan)).toThrow(InputError);
});
