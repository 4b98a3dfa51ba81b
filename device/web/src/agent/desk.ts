/** The enrolment desk behind the gateway: three calls of bytes (`server/gateway/enrolment.py`). */

import type { Bytes } from "../bytes.ts";
import { RefusedError } from "../errors.ts";
import { CallFailedError, refusalOf, whole, type Fetch } from "./line.ts";

const [EST, LEAVE] = ["/.well-known/est", "/v1/leave"];
const LONGEST = 1 << 16;
const TIMEOUT_MS = 30_000;

/** What a person can do about a refusal of the desk. */
const MENDS: Readonly<Record<string, string>> = {
  unknown_invite: "ask the operator for another invitation",
  invite_expired: "ask the operator for another invitation",
  invite_used: "an invitation is for one phone: ask the operator for another",
  wrong_class: "ask the operator for an invitation for phones",
  wrong_clock: "set this phone's clock, then try again",
  name_taken: "choose another name",
  denied: "the operator did not let this phone in: ask them",
  revoked: "the operator has removed this phone: ask them",
};

export class Desk {
  constructor(private readonly ask: Fetch) {}

  /** A `ChallengeRequest` in, a `Challenge` out. */
  challenge(request: Bytes): Promise<Bytes> {
    return this.#call("challenge", request);
  }

  /** A signed `EnrolmentRequest` in, a signed outcome out; the same bytes again ask how it stands. */
  enrol(request: Bytes): Promise<Bytes> {
    return this.#call("simpleenroll", request);
  }

  /** A signed `RenewalRequest` in, a signed outcome out. */
  renew(request: Bytes): Promise<Bytes> {
    return this.#call("simplereenroll", request);
  }

  /** A signed `LeaveRequest` in, a signed outcome out; the same again does nothing more. */
  leave(request: Bytes): Promise<Bytes> {
    return this.#post(LEAVE, request);
  }

  #call(name: string, body: Bytes): Promise<Bytes> {
    return this.#post(`${EST}/${name}`, body);
  }

  async #post(path: string, body: Bytes): Promise<Bytes> {
    let content: Bytes;
    let ok: boolean;
    try {
      const answer = await this.ask(path, {
        method: "POST",
        headers: { "content-type": "application/cbor" },
        body,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      content = await whole(answer, LONGEST);
      ok = answer.ok;
    } catch (error) {
      if (error instanceof CallFailedError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new CallFailedError("unreachable", `the federation does not answer: ${why}`);
    }
    if (ok) return content;
    const { reason, what } = refusalOf(content);
    // a captive portal, or a gateway in trouble, answers too: that is no decision of the desk
    if (reason === "" || reason === "busy" || reason === "too_many" || reason === "server_failed") {
      throw new CallFailedError("unreachable", `the federation does not answer now: ${what}`);
    }
    throw new RefusedError(reason, what, MENDS[reason]);
  }
}
