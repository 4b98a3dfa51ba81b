/**
 * The phone's place in a federation: keys, the application under way, certificate and sealing keys renewed in time.
 *
 * What to do next follows from what is kept, so one step that is repeated does all of it, as in `device/membership.py`:
 * what was asked is kept before it is asked, and a lost answer is asked for again.
 */

import { equal, fromHex, type Bytes } from "../bytes.ts";
import { InputError, RefusedError } from "../errors.ts";
import * as epochs from "../enrolment/epochs.ts";
import * as records from "../enrolment/records.ts";
import { Certificate } from "../security/certificate.ts";
import { certificateRequest } from "../security/csr.ts";
import { KEM_SUITES } from "../security/hpke.ts";
import { Identity, PublicIdentity } from "../security/identity.ts";
import type { Change, Database } from "../storage/database.ts";
import type { Desk } from "./desk.ts";
import { newKeys, shown, type Keys } from "./keys.ts";
import { inviteId, type Invitation } from "./link.ts";
import { checkMemberName } from "./names.ts";
import type { Terms } from "./phone.ts";

const SKEW_MS = 5 * 60_000;
const TRIPS = 3;
/** Reasons after which the same application is of no use: another may be made. */
const FINAL = [
  "denied",
  "revoked",
  "name_taken",
  "identity_taken",
  "invite_used",
  "invite_expired",
  "wrong_class",
  "stale_challenge",
];

/** What belongs to a place in a federation and is of no use in the next one. */
const OF_A_PLACE = ["member", "attempt", "node", "letter", "reply", "session"];

interface Application {
  readonly federation: string;
  readonly request: Bytes;
  readonly root: Bytes;
  readonly kemEpoch: number;
}

interface KeptMember {
  readonly federation: string;
  readonly certificate: Bytes;
  readonly issuer: Bytes;
  readonly root: Bytes;
  readonly coordinator: records.CoordinatorKeys;
}

/** A place in a federation. */
export interface Member {
  readonly federation: string;
  readonly certificate: Certificate;
  readonly root: Certificate;
  readonly coordinator: PublicIdentity | null;
  readonly coordinatorKeys: records.CoordinatorKeys;
}

export class Standing {
  /** By how many ms the desk's clock is ahead of this phone's, once it was told. */
  offset: number | undefined;

  constructor(
    private readonly database: Database,
    private readonly desk: Desk,
    private readonly clock: () => number,
  ) {}

  async keys(): Promise<Keys | undefined> {
    return (await this.database.get("state", "keys")) as Keys | undefined;
  }

  async waiting(): Promise<boolean> {
    return (await this.database.get("state", "application")) !== undefined;
  }

  async terms(): Promise<Terms | undefined> {
    return (await this.database.get("state", "terms")) as Terms | undefined;
  }

  async member(): Promise<Member | undefined> {
    const kept = (await this.database.get("state", "member")) as KeptMember | undefined;
    if (kept === undefined) return undefined;
    return {
      federation: kept.federation,
      certificate: Certificate.read(kept.certificate),
      root: Certificate.read(kept.root),
      coordinator: await identityOf(kept.coordinator),
      coordinatorKeys: kept.coordinator,
    };
  }

  /** The keys with which messages are signed and opened. */
  identity({ name, signing, kem }: Keys): Identity {
    const [newest, ...earlier] = epochs.pairsOf(kem);
    if (newest === undefined) throw new InputError("there is no sealing key");
    return new Identity(name, signing.privateKey, newest, earlier);
  }

  /**
   * Applies, and takes what is decided at once; the place, or `undefined` while it is not decided.
   *
   * @param others what is kept with the application, in the same step.
   * @param ended the place that is there has ended: it gives way, with what was under way in it.
   * @throws RefusedError with the desk's reason; `not_authentic`, `wrong_federation` or `wrong_clock`.
   */
  async apply(
    invitation: Invitation,
    name: string,
    terms: Terms,
    others: readonly Change[],
    ended = false,
  ): Promise<void> {
    checkMemberName(name);
    if ((await this.waiting()) || (!ended && (await this.member()) !== undefined)) {
      throw new InputError("this phone has applied already", "leave first, if it shall be in another federation");
    }
    const challenge = records.readDeskChallenge(
      await this.desk.challenge(records.challengeRequest(inviteId(invitation.token))),
    );
    const now = this.clock();
    this.offset = challenge.now - now;
    checkChallenge(challenge, invitation, now);
    const keys = await newKeys(name, now);
    const kem = epochs.newest(keys.kem);
    const request = await records.enrolmentRequest(this.signers(keys), {
      federation: invitation.federation,
      nonce: challenge.nonce,
      token: invitation.token,
      deviceClass: invitation.deviceClass,
      csr: await certificateRequest(name, keys.device),
      signingKey: new Uint8Array(await crypto.subtle.exportKey("raw", keys.signing.publicKey)),
      kem: shown(kem),
      now,
    });
    const application: Application = {
      federation: invitation.federation,
      request,
      root: challenge.root.der,
      kemEpoch: kem.number,
    };
    await this.database.write([
      ...(ended ? OF_A_PLACE.map((key): Change => ({ store: "state", key })) : []),
      ...others,
      { store: "state", key: "terms", value: terms },
      { store: "state", key: "keys", value: keys },
      { store: "state", key: "application", value: application },
    ]);
  }

  /** How the application stands; whether there is a place now. @throws RefusedError with the desk's reason. */
  async ask(): Promise<boolean> {
    const application = (await this.database.get("state", "application")) as Application | undefined;
    const keys = await this.keys();
    if (application === undefined || keys === undefined) throw new InputError("this phone has not applied");
    let answer: Bytes;
    try {
      answer = await this.desk.enrol(application.request);
    } catch (error) {
      if (error instanceof RefusedError && FINAL.includes(error.reason)) {
        await this.database.write([
          { store: "state", key: "application" },
          { store: "state", key: "keys" },
        ]);
      }
      throw error;
    }
    const root = Certificate.read(application.root);
    const found = await this.#placed(answer, application.request, application.federation, root, keys);
    if (found === undefined) return false;
    const kem = epochs.accepted(keys.kem, application.kemEpoch, this.clock());
    await this.database.write([
      { store: "state", key: "member", value: found },
      { store: "state", key: "keys", value: { ...keys, kem } },
      { store: "state", key: "application" },
    ]);
    return true;
  }

  /** Whether the desk has to be asked, should this phone's clock be right. */
  async due(): Promise<boolean> {
    const [member, keys] = [await this.member(), await this.keys()];
    if (member === undefined || keys === undefined) return false;
    const now = this.clock();
    return now >= member.certificate.renewAt || !epochs.isSettled(keys.kem, now);
  }

  /** Renews certificate and sealing key; a trip more where an answer was lost that was given for another key. */
  async renew(): Promise<void> {
    for (let trip = 0; trip < TRIPS; trip++) {
      const [member, keys] = [await this.member(), await this.keys()];
      if (member === undefined || keys === undefined) throw new InputError("this phone is in no federation");
      const now = this.clock();
      const begun = (await this.database.get("state", "attempt")) as { id: Bytes; number: number } | undefined;
      const found = trip === 0 ? epochs.toShow(keys.kem, begun?.number ?? 0, now) : epochs.newest(keys.kem);
      const kem = found === undefined ? await epochs.withNext(keys.kem, now) : keys.kem;
      const one = found ?? epochs.newest(kem);
      const attempt = begun ?? { id: crypto.getRandomValues(new Uint8Array(16)), number: one.number };
      await this.database.write([
        { store: "state", key: "keys", value: { ...keys, kem } },
        { store: "state", key: "attempt", value: attempt }, // kept until the answer is there
      ]);
      const request = await records.renewalRequest(this.signers(keys), {
        federation: member.federation,
        serial: member.certificate.serial,
        attempt: attempt.id,
        csr: await certificateRequest(keys.name, keys.device),
        kem: shown(one),
        now,
      });
      const answer = await this.desk.renew(request);
      const placed = await this.#placed(answer, request, member.federation, member.root, keys);
      if (placed === undefined) throw new InputError("a renewal was answered without a certificate");
      let after = one.number === attempt.number ? epochs.accepted(kem, one.number, now) : kem;
      after = epochs.pruned(after, now);
      if (epochs.isDue(after, now)) after = await epochs.withNext(after, now);
      await this.database.write([
        { store: "state", key: "member", value: placed },
        { store: "state", key: "keys", value: { ...keys, kem: after } },
        { store: "state", key: "attempt" },
      ]);
      if (epochs.newest(after).number === after.taken) return;
    }
  }

  /** The two keys that sign what is asked of the desk. */
  signers(keys: Keys): records.Signers {
    return { device: keys.device, identity: this.identity(keys) };
  }

  /** The place that an answer gives, checked: of our name and key, under the root that was pinned. */
  async #placed(
    answer: Bytes,
    request: Bytes,
    federation: string,
    root: Certificate,
    keys: Keys,
  ): Promise<KeptMember | undefined> {
    const now = this.clock();
    const { certificate, issuer, coordinator } = await records.openOutcome(answer, request, root, now);
    if (certificate === null || issuer === null) return undefined;
    await issuer.checkIssued(root, now);
    await certificate.checkIssued(issuer, now);
    const key = new Uint8Array(await crypto.subtle.exportKey("spki", keys.device.publicKey));
    const ours = certificate.uri === `spiffe://${federation}/device/${keys.name}` && equal(certificate.key, key);
    if (!ours || certificate.isAuthority || !certificate.isForClients) {
      throw new RefusedError("not_authentic", "the certificate is not of this phone's key and name");
    }
    await identityOf(coordinator); // refuses keys that protect nothing
    return { federation, certificate: certificate.der, issuer: issuer.der, root: root.der, coordinator };
  }
}

function checkChallenge(challenge: records.DeskChallenge, invitation: Invitation, now: number): void {
  if (!equal(challenge.root.fingerprint, invitation.root)) {
    const what = "who answers is not the federation that invited";
    throw new RefusedError("not_authentic", what, "do not go on; ask the operator");
  }
  if (challenge.federation !== invitation.federation) {
    throw new RefusedError("wrong_federation", `invited by ${invitation.federation}, not ${challenge.federation}`);
  }
  const off = now - challenge.now;
  if (Math.abs(off) > SKEW_MS) {
    const seconds = Math.floor(Math.abs(off) / 1000);
    const what = `this phone's clock is ${seconds} s ${off > 0 ? "ahead of" : "behind"} the federation's`;
    throw new RefusedError("wrong_clock", what, "set this phone's clock, then try again");
  }
}

async function identityOf(keys: records.CoordinatorKeys): Promise<PublicIdentity | null> {
  if (keys === null) return null;
  const [signing, kem] = [fromHex(keys.signing_key), fromHex(keys.kem_key)];
  const suite = KEM_SUITES.find((known) => known === keys.suite);
  if (signing === undefined || kem === undefined || suite === undefined) {
    throw new InputError("the coordinator's keys cannot be read");
  }
  return PublicIdentity.of(keys.name, signing, kem, suite);
}
