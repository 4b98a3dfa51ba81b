/** Head training under privacy against `head.json`: every bit of every delta. */

import { Float, type CborValue } from "../canonical/index.ts";
import { privatePlan, readPlan } from "../messages/plan.ts";
import { HeadTrainer } from "../training/head.ts";
import { same, type Case } from "./check.ts";
import { stream } from "./noise.ts";
import { floats, hexOfFloats } from "./numbers.ts";

interface Round {
  readonly classes: number;
  readonly features: number;
  readonly plan: {
    epochs: number;
    denominator: number;
    learning_rate: string;
    momentum: string;
    proximal: string;
    clip: string;
    noise_multiplier: string;
    sampling_rate: string;
  };
  readonly start: string;
  readonly x: string;
  readonly y: readonly number[];
  readonly key: string;
  readonly steps: number;
  readonly left_out: number;
  readonly delta: string;
}
interface Vectors {
  readonly rounds: readonly (Round & { why: string })[];
  readonly left_out: Omit<Round, "x" | "y"> & { readonly given: Pick<Round, "x" | "y"> };
}

export function headCases(file: unknown): Case[] {
  const vectors = file as Vectors;
  const odd = { ...vectors.left_out, ...vectors.left_out.given, why: "left out" };
  return [...vectors.rounds, odd].map((round) => ({
    name: round.why,
    run: () => check(round),
  }));
}

async function check(round: Round): Promise<void> {
  const { epochs, denominator, ...texts } = round.plan;
  const numbers = Object.entries(texts).map(([name, text]) => [name, new Float(Number(text))] as const);
  const plan = privatePlan(
    readPlan(new Map<string, CborValue>([...Object.entries({ unit: "example", epochs, denominator }), ...numbers])),
  );
  same(String(plan.steps), String(round.steps), "steps");
  const trainer = new HeadTrainer(round.classes, round.features);
  const all = floats(round.x);
  const x = round.y.map((_, i) => all.subarray(i * round.features, (i + 1) * round.features));
  const delta = await trainer.train(floats(round.start), x, round.y, plan, stream(round.key));
  same(hexOfFloats(delta), round.delta, "delta");
  same(String(trainer.leftOut), String(round.left_out), "left out");
}
