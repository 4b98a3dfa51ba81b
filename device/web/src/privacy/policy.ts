/** The promise that a ledger keeps: (ε, δ)-DP of every `unit`, over its whole life (`Policy` in `spending.py`). */

import { Float, type CborMap, type CborValue } from "../canonical/index.ts";
import { InputError } from "../errors.ts";
import { checkInteger } from "../security/strict.ts";

/** See `security/privacy/spending.py` for what each field means. */
export interface Policy {
  readonly unit: string;
  readonly epsilon: number;
  readonly delta: number;
  readonly simulated: boolean;
  readonly minSeparation: number;
  readonly maxParticipations: number;
  readonly data: string;
}

const FIELDS = "accountant,data,delta,epsilon,max_participations,min_separation,relation,scope,simulated,subject,unit";

/** A device's first entry's body. */
export function policyBody(subject: string, policy: Policy): CborMap {
  return new Map<string, CborValue>([
    ["scope", "device"],
    ["subject", subject],
    ["unit", policy.unit],
    ["relation", "add/remove"],
    ["epsilon", new Float(policy.epsilon)],
    ["delta", new Float(policy.delta)],
    ["accountant", "rdp"],
    ["simulated", policy.simulated],
    ["min_separation", policy.minSeparation],
    ["max_participations", policy.maxParticipations],
    ["data", policy.data],
  ]);
}

/** The subject and policy of a first entry's body. @throws InputError when it is none, or of another accountant. */
export function readPolicy(body: CborMap): { subject: string; policy: Policy } {
  if ([...body.keys()].sort().join() !== FIELDS) throw new InputError("a policy has other fields");
  const [subject, unit, data, simulated] = ["subject", "unit", "data", "simulated"].map((key) => body.get(key));
  if (body.get("relation") !== "add/remove" || body.get("accountant") !== "rdp") {
    throw new InputError("a ledger accounts by rdp under add/remove");
  }
  if (body.get("scope") !== "device" && body.get("scope") !== "population") {
    throw new InputError("a policy is of a device or a population");
  }
  if (typeof subject !== "string" || typeof unit !== "string" || typeof data !== "string") {
    throw new InputError("a policy names a subject, a unit and data");
  }
  if (typeof simulated !== "boolean") throw new InputError("a policy says whether it is simulated");
  const [epsilon, delta] = [numberOf(body.get("epsilon")), numberOf(body.get("delta"))];
  if (!(epsilon > 0 && epsilon < Infinity && delta > 0 && delta < 1)) {
    throw new InputError("a policy needs 0 < ε < ∞ and 0 < δ < 1");
  }
  const minSeparation = checkInteger(body.get("min_separation"), "a policy's min_separation", 1);
  const maxParticipations = checkInteger(body.get("max_participations"), "a policy's max_participations");
  return { subject, policy: { unit, epsilon, delta, simulated, minSeparation, maxParticipations, data } };
}

/** A number, written whole or not. @throws InputError */
export function numberOf(value: CborValue | undefined): number {
  if (value instanceof Float) return value.value;
  if (typeof value !== "number") throw new InputError("a number is missing");
  return value;
}
