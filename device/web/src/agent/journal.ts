/**
 * What the phone was given to do and has not finished. A message that was pulled is never given again: it is kept as it
 * was announced, and with its objects before the SuperLink is told to delete them. A reply is kept before any of it is
 * sent, so that what is sent after a reload is the same to the last byte.
 */

import type { Parcel } from "../fleet/letter.ts";
import type { Database } from "../storage/database.ts";
import type { Session } from "./fleet.ts";

const [LETTER, REPLY, SESSION] = ["letter", "reply", "session"];

/** A reply that was made, and the session that it was last announced in. */
export interface KeptReply {
  readonly reply: Parcel;
  readonly session: Session | undefined;
}

/** At most one message, and the reply to it. */
export class Journal {
  constructor(private readonly database: Database) {}

  async letter(): Promise<Parcel | undefined> {
    return (await this.database.get("state", LETTER)) as Parcel | undefined;
  }

  /** Keeps a message, in the place of its announcement if it was. */
  async keepLetter(letter: Parcel): Promise<void> {
    await this.database.write([state(SESSION), state(REPLY), state(LETTER, letter)]);
  }

  async reply(): Promise<KeptReply | undefined> {
    const reply = (await this.database.get("state", REPLY)) as Parcel | undefined;
    const session = (await this.database.get("state", SESSION)) as Session | undefined;
    return reply && { reply, session };
  }

  /** Keeps the reply; nothing of it may be sent before. */
  async keepReply(reply: Parcel): Promise<void> {
    await this.database.write([state(REPLY, reply)]);
  }

  async keepSession(session: Session): Promise<void> {
    await this.database.write([state(SESSION, session)]);
  }

  /** Done: nothing is under way. */
  async clear(): Promise<void> {
    await this.database.write([state(SESSION), state(REPLY), state(LETTER)]);
  }
}

function state(key: string, value?: unknown): { store: "state"; key: string; value?: unknown } {
  return { store: "state", key, value };
}
