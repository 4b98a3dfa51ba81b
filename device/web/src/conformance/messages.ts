/** Challenges, instructions and updates against `messages.json`. */

import { toHex } from "../bytes.ts";
import { encode } from "../canonical/index.ts";
import { InputError } from "../errors.ts";
import { CHALLENGE_DOMAIN, headLayout, readChallenge, readInstruction, updateBytes } from "../messages/messages.ts";
import { eventOf, promiseOf, readPlan } from "../messages/plan.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { floats, hexOfFloats } from "./numbers.ts";
import { publicOf, type PublicPerson } from "./people.ts";
import { untagged, type Tagged } from "./tagged.ts";

interface Vectors {
  readonly layout: { classes: number; features: number; digest: string };
  readonly challenge: {
    run: string;
    nonce: string;
    expires: number;
    bytes: string;
    coordinator: PublicPerson;
    signature: string;
  };
  readonly instructions: readonly {
    bytes: string;
    vector: string;
    layout: string;
    seed: number | null;
    plan: Tagged;
    event: readonly number[] | null;
    promise: string;
  }[];
  readonly refused: readonly { why: string; given: string }[];
  readonly updates: readonly {
    delta: string;
    layout: string;
    ledger_head: string;
    ledger_size: number;
    ledger_root: string;
    bytes: string;
  }[];
}

export function messagesCases(file: unknown): Case[] {
  const { layout, challenge, instructions, refused, updates } = file as Vectors;
  return [
    {
      name: "layout",
      run: () => {
        same(headLayout(layout.classes, layout.features), layout.digest, "digest");
      },
    },
    { name: "challenge", run: () => checkChallenge(challenge) },
    ...instructions.map((v, i) => ({
      name: `instruction ${i}`,
      run: () => {
        checkInstruction(v);
      },
    })),
    ...refused.map(({ why, given }) => ({
      name: why,
      run: async () => {
        await thrown(InputError, () => readInstruction(bytesOf(given)));
      },
    })),
    ...updates.map((v, i) => ({
      name: `update ${i}`,
      run: () => {
        const { layout: digest, ledger_head: ledgerHead, ledger_size: ledgerSize, ledger_root: ledgerRoot } = v;
        const update = { delta: floats(v.delta), layout: digest, ledgerHead, ledgerSize, ledgerRoot };
        same(toHex(updateBytes(update)), v.bytes, "update");
      },
    })),
  ];
}

async function checkChallenge(v: Vectors["challenge"]): Promise<void> {
  const data = bytesOf(v.bytes);
  const { run, nonce, expires } = readChallenge(data);
  same([run, toHex(nonce), expires].join(), [v.run, v.nonce, v.expires].join(), "challenge");
  const coordinator = await publicOf(v.coordinator);
  await coordinator.verify(CHALLENGE_DOMAIN, data, bytesOf(v.signature));
}

function checkInstruction(v: Vectors["instructions"][number]): void {
  const { vector, layout, plan, seed } = readInstruction(bytesOf(v.bytes));
  same(hexOfFloats(vector), v.vector, "vector");
  same(layout, v.layout, "layout");
  same(String(seed), String(v.seed), "seed");
  const given = untagged(v.plan);
  if (!(given instanceof Map)) throw new Error("no plan");
  same(JSON.stringify(plan), JSON.stringify(readPlan(given)), "plan");
  same(toHex(bytesOf(v.bytes)).includes(toHex(encode(given))) ? "in it" : "not", "in it", "plan's encoding");
  const event = eventOf(plan);
  const spent = event && [event.noiseMultiplier, event.samplingRate, event.steps];
  same(String(spent), String(v.event), "event");
  same(promiseOf(plan), v.promise, "promise");
}
