/** An invitation as an operator hands it over: one word, `skerry-enrol:…` (`security/enrolment/invitation.py`). */

import { sha256 } from "@noble/hashes/sha2.js";
import { concat, fromBase64Url, utf8, type Bytes } from "../bytes.ts";
import type { CborValue } from "../canonical/index.ts";
import { InputError } from "../errors.ts";
import { checkBytes, checkInteger, checkText, readRecord } from "../security/strict.ts";
import type { InviteLink } from "./phone.ts";
import { checkFederation } from "./names.ts";

const SCHEME = "skerry-enrol:";
const LONGEST = 16_384;
const LONGEST_ADDRESS = 512;
/** The device class of browsers (`skerry fleet invite --class phone`). */
const CLASS = "phone";
const LATEST = 8.64e15; // of what a calendar can show, ms
const FIELDS = ["federation", "address", "token", "root", "role", "device_class", "expires"];
const TOKEN = 16;

/** All that an invitation holds. */
export interface Invitation extends InviteLink {
  /** 16 bytes, one-time. */
  readonly token: Bytes;
  /** SHA-256 of the root certificate (DER), to which everything from the desk must lead. */
  readonly root: Bytes;
}

/**
 * The invitation of a text, or of a link whose fragment is one (a fragment is never sent to a server).
 *
 * @throws InputError when it is not one, or not one for phones: a browser is of a weaker class of trust than a Pi.
 */
export function readInvitation(text: string): Invitation {
  const word = text.replace(/\s+/g, "").replace(/^[^#]*#/, "");
  const data = word.startsWith(SCHEME) ? fromBase64Url(word.slice(SCHEME.length)) : undefined;
  try {
    if (data === undefined) throw new InputError("another scheme");
    const fields = readRecord(data, FIELDS, LONGEST);
    if (fields.get("role") !== "device") throw new InputError("not for a device");
    if (fields.get("device_class") !== CLASS) throw new InputError("not for a phone");
    const expires = checkInteger(fields.get("expires"), "a time");
    if (expires < 0 || expires > LATEST) throw new InputError("not a time");
    return {
      text: word,
      federation: checkFederation(fields.get("federation")),
      address: checkAddress(fields.get("address")),
      token: checkBytes(fields.get("token"), "a token", TOKEN),
      root: checkBytes(fields.get("root"), "a root's digest", 32),
      deviceClass: CLASS,
      expires,
    };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    // without the cause, which could quote the token
    throw new InputError(
      "this is not an invitation for a phone",
      `copy all of what the operator sent: one word that begins with ${SCHEME}`,
    );
  }
}

/** An invitation that is of this page's gateway. @throws InputError as `readInvitation`, or when it is of another. */
export function invitationOf(text: string, here: string): Invitation {
  const invitation = readInvitation(text);
  const { address } = invitation;
  if (address === "" || (URL.canParse(address) && new URL(address).origin === here)) return invitation;
  throw new InputError("the invitation is of another address", `open ${address}/phone/ instead`);
}

/** What a person may see of it before anything is asked. @throws InputError as `readInvitation`. */
export function readInvite(text: string): InviteLink {
  const { text: word, federation, address, deviceClass, expires } = readInvitation(text);
  return { text: word, federation, address, deviceClass, expires };
}

/** How the desk knows an invite: by a hash of its token. */
export function inviteId(token: Bytes): Bytes {
  return sha256(concat([utf8("skerry/invite/1\0"), token]));
}

/** Of the gateway, `https://host[:port]`; empty where the page's own is meant. */
function checkAddress(value: CborValue | undefined): string {
  const address = checkText(value, "an address");
  if (address === "") return address;
  if (address.length > LONGEST_ADDRESS || !URL.canParse(address)) throw new InputError("not an address");
  const { protocol, origin, href } = new URL(address);
  if (protocol !== "https:" || href !== `${origin}/`) throw new InputError("not the address of a gateway");
  return address;
}
