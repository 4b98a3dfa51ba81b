/** Parts of what the page sees. */

import { CLASSES } from "../preparation/digits.ts";
import type { Policy } from "../privacy/policy.ts";
import type { Ledger } from "../storage/ledger.ts";
import { USUAL_TERMS, type PhoneView, type Reason, type Terms } from "./phone.ts";

const DATA = "digits/drawn on this phone";

/** Before anything is known. */
export const FIRST_VIEW: PhoneView = {
  membership: "none",
  name: "",
  fingerprint: "",
  federation: "",
  classes: CLASSES,
  activity: "idle",
  paused: false,
  progress: null,
  reason: null,
  rounds: [],
  privacy: privacyOf(undefined, undefined),
  examples: 0,
  storage: "may be evicted",
  clockOffsetSeconds: null,
  base: null,
  model: null,
};

/** What was promised, spent and left; by the ledger where there is one. */
export function privacyOf(ledger: Ledger | undefined, terms: Terms | undefined): PhoneView["privacy"] {
  const { unit, relation } = USUAL_TERMS;
  const { epsilon, delta } = ledger?.policy ?? terms ?? USUAL_TERMS;
  const spent = ledger?.epsilon() ?? 0;
  return { unit, relation, epsilon, delta, spent, left: Math.max(0, epsilon - spent) };
}

/** What a ledger of these terms begins with. */
export function policyOf({ unit, epsilon, delta }: Terms): Policy {
  return { unit, epsilon, delta, simulated: false, minSeparation: 1, maxParticipations: 0, data: DATA };
}

export function storageOf(lost: boolean, persisted: boolean): PhoneView["storage"] {
  if (lost) return "lost";
  return persisted ? "persisted" : "may be evicted";
}

export const PAUSED: Reason = { code: "paused", sentence: "paused by you" };
export const HIDDEN: Reason = {
  code: "hidden",
  sentence: "this page is in the background; it goes on when you look at it",
};
export const FAILED: Reason = { code: "failed", sentence: "the phone's own program failed: reload the page" };
