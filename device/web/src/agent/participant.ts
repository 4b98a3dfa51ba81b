/** Answers the coordinator's messages for the phone: who lives here, and one round's work. */

import type { Bytes } from "../bytes.ts";
import type { Bases } from "../delivery/base.ts";
import { InputError } from "../errors.ts";
import type { Content } from "../fleet/letter.ts";
import type { Database } from "../storage/database.ts";
import type { Ledger } from "../storage/ledger.ts";
import type { Witness } from "../storage/witness.ts";
import type { Examples } from "./examples.ts";
import { CallFailedError, type GatewayLine } from "./line.ts";
import { answerChallenge, participate, type Resident } from "./participation.ts";
import type { Activity } from "./phone.ts";
import type { Rounds } from "./rounds.ts";
import type { Standing } from "./standing.ts";

/** What a participant is made of. */
export interface ParticipantParts {
  readonly database: Database;
  readonly witness: Witness;
  readonly clock: () => number;
  readonly line: GatewayLine;
  readonly ledger: Ledger;
  readonly bases: Bases;
  readonly rounds: Rounds;
  readonly standing: Standing;
  readonly examples: Examples;
  /** Hears what is done, and throws when work is to stop. */
  readonly step: (activity: Activity, progress: number | null) => void;
}

export class Participant {
  constructor(private readonly parts: ParticipantParts) {}

  /**
   * The answer to a message of that kind.
   *
   * @throws RefusedError or InputError when it is none of the coordinator's.
   * @throws CallFailedError when it cannot be answered now.
   */
  async answer(kind: string, content: Content): Promise<Content> {
    const { parts } = this;
    const me = await this.#resident();
    if (kind === "query.identify") {
      const answer = await answerChallenge(bytesOf(content, "challenge"), bytesOf(content, "signature"), me);
      return new Map([["envelopes", [answer]]]);
    }
    if (kind !== "train") throw new InputError(`a message of the kind ${kind} is not answered here`);
    parts.step("training", null);
    const { answer, done } = await participate(bytesOf(content, "envelope"), me);
    await parts.rounds.answered(done, parts.clock());
    return new Map([["envelope", answer]]);
  }

  async #resident(): Promise<Resident> {
    const { standing, database, witness, clock, ledger, bases, examples, line, step } = this.parts;
    const [keys, member] = [await standing.keys(), await standing.member()];
    const coordinator = member?.coordinator;
    if (keys === undefined || coordinator === undefined || coordinator === null) {
      throw new CallFailedError("unreachable", "the federation has named no coordinator yet");
    }
    return {
      ...{ ledger, database, witness, clock, coordinator },
      identity: standing.identity(keys),
      base: (digest) =>
        bases.load(
          digest,
          (path, headers, longest) => line.get(path, headers, longest),
          (share) => {
            step("fetching", share);
          },
        ),
      rows: (base) =>
        examples.rows(base, (share) => {
          step("training", share);
        }),
      trained: (share) => {
        step("training", share);
      },
    };
  }
}

function bytesOf(content: Content, name: string): Bytes {
  const value = content.get(name);
  if (!(value instanceof Uint8Array)) throw new InputError(`the message has no bytes named ${name}`);
  return value;
}
