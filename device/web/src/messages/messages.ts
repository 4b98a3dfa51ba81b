/** What coordinator and device say to each other inside sealed envelopes: `device/protocol.py`. */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex, type Bytes } from "../bytes.ts";
import { decode, encode, mapOf, type CborMap, type CborValue } from "../canonical/index.ts";
import { InputError } from "../errors.ts";
import { checkText } from "../security/strict.ts";
import { readPlan, type TrainPlan } from "./plan.ts";

/** The domain under which a coordinator signs a challenge. */
export const CHALLENGE_DOMAIN = "skerry/challenge/1";

/** The coordinator asks a node who it is. */
export interface Challenge {
  readonly run: string;
  readonly nonce: Bytes;
  readonly expires: number;
}

/** One round's work for one device; `seed` is for simulation only, and a real device refuses it. */
export interface Instruction {
  readonly vector: Float32Array;
  readonly layout: string;
  readonly plan: TrainPlan;
  readonly seed: number | bigint | null;
}

/** A device's answer: the change of the trainable part, and where its ledger stands. */
export interface Update {
  readonly delta: Float32Array;
  readonly layout: string;
  readonly ledgerHead: string;
  readonly ledgerSize: number;
  readonly ledgerRoot: string;
}

/** @throws InputError when the bytes are not a challenge. */
export function readChallenge(data: Bytes): Challenge {
  const fields = record(data, ["run", "nonce", "expires"]);
  const [nonce, expires] = [fields.get("nonce"), fields.get("expires")];
  if (!(nonce instanceof Uint8Array) || typeof expires !== "number") throw new InputError("not a challenge");
  return { run: checkText(fields.get("run"), "the run"), nonce, expires };
}

/** @throws InputError when the bytes are not an instruction, or its plan is not valid. */
export function readInstruction(data: Bytes): Instruction {
  const fields = record(data, ["vector", "layout", "plan", "seed"]);
  const [vector, plan, seed = null] = [fields.get("vector"), fields.get("plan"), fields.get("seed")];
  if (!(vector instanceof Uint8Array)) throw new InputError("the vector has the wrong type");
  if (!(plan instanceof Map)) throw new InputError("the plan has the wrong type");
  if (seed !== null && typeof seed !== "number" && typeof seed !== "bigint") {
    throw new InputError("the seed has the wrong type");
  }
  const layout = checkText(fields.get("layout"), "the layout");
  return { vector: fromBytes(vector), layout, plan: readPlan(plan), seed };
}

/** Canonical bytes, which are sealed to the coordinator. */
export function updateBytes(update: Update): Bytes {
  return encode(
    mapOf({
      delta: toBytes(update.delta),
      layout: update.layout,
      ledger_head: update.ledgerHead,
      ledger_size: update.ledgerSize,
      ledger_root: update.ledgerRoot,
    }),
  );
}

/** Digest of a head's layout, which both sides compare before they exchange vectors (`ParameterLayout`). */
export function headLayout(classes: number, features: number): string {
  return toHex(sha256(encode([["head.weight", [classes, features]]])));
}

/** Little-endian float32 bytes of a flat vector, whatever the order of this machine. */
function toBytes(vector: Float32Array): Bytes {
  const view = new DataView(new ArrayBuffer(4 * vector.length));
  vector.forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  return new Uint8Array(view.buffer);
}

function fromBytes(data: Bytes): Float32Array {
  if (data.length % 4 !== 0) throw new InputError(`${data.length} bytes are not a whole number of float32 values`);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Float32Array.from({ length: data.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

function record(data: Bytes, keys: readonly string[]): CborMap {
  const value: CborValue = decode(data);
  if (!(value instanceof Map) || value.size !== keys.length || !keys.every((key) => value.has(key))) {
    throw new InputError(`expected a record with the keys ${keys.join(", ")}`);
  }
  return value;
}
