/** A round that asks for more than this device knows of is refused as a whole, and not trained in part. */

import { expect, it } from "vitest";
import { encode, Float, mapOf, type CborValue } from "../src/canonical/index.ts";
import { InputError } from "../src/errors.ts";
import { readInstruction } from "../src/messages/messages.ts";

const VECTOR = new Uint8Array(8);
const PLAN = mapOf({ unit: "example", learning_rate: 1, noise_multiplier: new Float(1.5) });

function instruction(more: Readonly<Record<string, CborValue>>): ReturnType<typeof readInstruction> {
  return readInstruction(encode(mapOf({ vector: VECTOR, layout: "a", plan: PLAN, seed: null, ...more })));
}

it("reads an instruction without them", () => {
  expect(instruction({}).vector).toHaveLength(2);
});

it.each<[string, Readonly<Record<string, CborValue>>]>([
  ["a control variate of SCAFFOLD", { variate: mapOf({ vector: VECTOR, counted: 0 }) }],
  ["a question for the loss, of q-FFL", { loss: true }],
])("refuses one with %s", (_, more) => {
  expect(() => instruction(more)).toThrow(InputError);
});
