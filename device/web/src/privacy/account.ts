/** What a ledger's entries add up to, and what it refuses before it writes: `spending.py` and `filter.py`. */

import { Float, mapOf, type CborMap, type CborValue } from "../canonical/index.ts";
import { BudgetExceededError, EnvelopeRefusedError, InputError, LedgerCorruptError, RefusedError } from "../errors.ts";
import { checkInteger } from "../security/strict.ts";
import type { Entry } from "./chain.ts";
import { numberOf, readPolicy, type Policy } from "./policy.ts";
import { epsilon, gaussianEvent, type GaussianEvent } from "./rdp.ts";

/** By how much time may seem to run backwards from one entry to the next, in ms. */
export const CLOCK_SLACK_MS = 5 * 60 * 1000;

/** A ledger's content; it grows with `take`. */
export class Account {
  readonly #steps = new Map<string, GaussianEvent>();
  readonly #rounds = new Map<string, Set<number>>();
  #participations = 0;
  #unprotected = 0;

  constructor(
    readonly subject: string,
    readonly policy: Policy,
    public last: Entry,
  ) {}

  /** Counts an entry that follows. @throws InputError when it is not one that a ledger holds there. */
  take(entry: Entry): void {
    if (entry.kind === "policy") throw new InputError("a policy stands at the start only");
    if (entry.kind === "debit") this.#count(entry.body);
    if (entry.kind === "erasure") checkErasure(entry);
    this.last = entry;
  }

  #count(body: CborMap): void {
    const [run, event] = [body.get("run"), body.get("event")];
    if (typeof run !== "string" || event === undefined) throw new InputError("a debit names its run and event");
    const round = checkInteger(body.get("round"), "a round");
    if (!this.has(run, round)) this.#participations += 1;
    this.#rounds.set(run, (this.#rounds.get(run) ?? new Set()).add(round));
    const spent = event === null ? null : readEvent(event);
    if (spent === null) this.#unprotected += 1;
    else {
      const kind = `${spent.noiseMultiplier}/${spent.samplingRate}`;
      this.#steps.set(kind, { ...spent, steps: spent.steps + (this.#steps.get(kind)?.steps ?? 0) });
    }
  }

  /** Whether that round was debited. */
  has(run: string, round: number): boolean {
    return this.#rounds.get(run)?.has(round) ?? false;
  }

  /** ε at the policy's δ, of what was spent and of `extra`; infinite once something left without noise. */
  epsilon(extra?: GaussianEvent): number {
    if (this.#unprotected > 0) return Infinity;
    return epsilon([...this.#steps.values(), ...(extra ? [extra] : [])], this.policy.delta);
  }

  /**
   * A privacy filter: lets a release pass, or refuses it.
   *
   * @param event what will be released; `null` when it will leave without noise.
   * @throws EnvelopeRefusedError when the round was debited before (`replayed`).
   * @throws BudgetExceededError `participations_used`, `too_soon`, `unprotected` or `budget_exceeded`.
   */
  checkDebit(run: string, round: number, event: GaussianEvent | null): void {
    const { policy } = this;
    if (this.has(run, round)) throw new EnvelopeRefusedError("replayed", "this round was debited before");
    if (policy.maxParticipations > 0 && this.#participations >= policy.maxParticipations) {
      throw new BudgetExceededError("participations_used", `these data took part in ${this.#participations} rounds`);
    }
    for (const near of this.#rounds.get(run) ?? []) {
      if (Math.abs(near - round) < policy.minSeparation) {
        throw new BudgetExceededError("too_soon", `these data took part in round ${near}`);
      }
    }
    if (policy.unit === "none") return;
    if (event === null)
      throw new BudgetExceededError("unprotected", "the policy protects, and this round has no noise");
    const after = this.epsilon(event);
    if (!(after <= policy.epsilon)) {
      const mend = "plan fewer rounds or more noise: what is spent does not come back";
      throw new BudgetExceededError("budget_exceeded", `this round would bring ε to ${after.toPrecision(4)}`, mend);
    }
  }

  /** Refuses to date an entry long before the one it follows. @throws RefusedError (`clock_set_back`). */
  checkClock(now: number): void {
    if (this.last.at - now > CLOCK_SLACK_MS) {
      throw new RefusedError("clock_set_back", "the clock stands before the ledger's last entry", "set the clock");
    }
  }
}

/**
 * Goes through a verified chain from its policy on.
 *
 * @throws LedgerCorruptError when there is no policy at the start (`empty`), or an entry that no ledger holds there.
 */
export function replay(entries: readonly Entry[]): Account {
  const [first, ...rest] = entries;
  if (first === undefined) throw new LedgerCorruptError("empty", "the ledger has no entries: its policy is missing");
  let at = first;
  try {
    if (first.kind !== "policy") throw new InputError("the first entry must be the policy");
    const { subject, policy } = readPolicy(first.body);
    const account = new Account(subject, policy, first);
    for (const entry of rest) {
      at = entry;
      account.take(entry);
    }
    return account;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new LedgerCorruptError("unknown_entry", `ledger entry ${at.seq} is not one of ours: ${error.what}`);
  }
}

/** A debit's body; an empty promise is left out. */
export function debitBody(
  run: string,
  round: number,
  event: GaussianEvent | null,
  nonce: string,
  promise: string,
): CborMap {
  const spent =
    event &&
    mapOf({
      noise_multiplier: new Float(event.noiseMultiplier),
      sampling_rate: new Float(event.samplingRate),
      steps: event.steps,
    });
  return mapOf({ run, round, nonce, event: spent, ...(promise !== "" && { promise }) });
}

function readEvent(value: CborValue): GaussianEvent {
  if (!(value instanceof Map)) throw new InputError("an event is a map");
  const { noise_multiplier: noise, sampling_rate: rate = 1, steps = 1, ...more } = Object.fromEntries(value);
  if (Object.keys(more).length > 0) throw new InputError("an event has other fields");
  return gaussianEvent(numberOf(noise), numberOf(rate), checkInteger(steps, "a number of steps"));
}

function checkErasure(entry: Entry): void {
  const entries = entry.body.get("entries");
  const earlier = (seq: CborValue): boolean => typeof seq === "number" && seq >= 0 && seq < entry.seq;
  if (!Array.isArray(entries) || !entries.every(earlier)) throw new InputError("an erasure names entries before it");
}
