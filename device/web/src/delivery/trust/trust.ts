/**
 * Which manifest a phone believes, as `security/delivery/client/trust.py`:
 *
 * 1. *root*: from the newest root in memory, or the anchor, along the chain of roots; each is signed by the one before and itself.
 * 2. *timestamp, snapshot, targets, the model's role*: signed, and each of the version that the one before names.
 * 3. *in bounds*: versions and time of issue are such that the memory can be read back.
 * 4. *not late*: nothing has expired by the later of clock and time floor.
 * 5. *not back*: no version is lower than the one in memory, unless the role above has changed the role's keys.
 * 6. *whole*: the manifest has the length and digest that were signed.
 *
 * There is no cache beside the memory: it lies in the ledger's database and is all that a phone knows.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { CallFailedError } from "../../agent/line.ts";
import { toHex, type Bytes } from "../../bytes.ts";
import type { CborMap } from "../../canonical/index.ts";
import { InputError } from "../../errors.ts";
import {
  checkSigned,
  integer,
  list,
  malformed,
  map,
  readMetadata,
  refusal,
  signersOf,
  text,
  type Metadata,
  type Signers,
} from "./metadata.ts";

const CHECK_CLOCK = "check this phone's clock, which may be ahead, and ask the operator; what is here goes on working";
const ISSUED = "skerry_issued_ms";
const MOST_ROOTS = 1024;
const MOST_MANIFEST = 1 << 20;
const MOST = { root: 512_000, timestamp: 16_384, snapshot: 2_000_000, targets: 5_000_000 };
const SHA256 = /^[0-9a-f]{64}$/;

/** Highest version of a role's metadata, and a digest of the keys that may sign it. */
export interface Seen {
  readonly version: number;
  readonly keys: string;
}

/** What a phone keeps of a repository. */
export interface Memory {
  /** The newest root, as signed. */
  readonly root: Bytes;
  /** Milliseconds since the epoch before which it cannot be. */
  readonly floor: number;
  readonly roles: Readonly<Record<string, Seen>>;
}

/** The newest manifest of a model as signed, the keys that may sign it, and what to remember before it is used. */
export interface Believed {
  readonly manifest: Bytes;
  readonly keys: string;
  readonly memory: Memory;
}

/**
 * A file of the repository; `undefined` where there is none. It is read no further than `most` bytes.
 *
 * @throws ReleaseRefusedError `endless_data` when it is longer.
 * @throws CallFailedError when it cannot be had now.
 */
export type Read = (path: string, most: number) => Promise<Bytes | undefined>;

/** The repository is what it says, and has no such model. */
export class NoSuchModelError extends InputError {
  override readonly name: string = "NoSuchModelError";
}

/** A file with those who may have signed it. */
type Held = Metadata & { readonly by: Signers };

/**
 * @param memory of earlier visits, or the anchor as its root.
 * @throws ReleaseRefusedError with the reason.
 * @throws NoSuchModelError.
 * @throws CallFailedError when the repository cannot be read now.
 */
export async function newest(memory: Memory, model: string, read: Read, clock: number): Promise<Believed> {
  const { root, bytes } = await newestRoot(memory.root, read);
  const timestamp = await file("timestamp", "metadata/timestamp.json", MOST.timestamp, byRoot(root, "timestamp"));
  const snapshot = await listed("snapshot", timestamp, MOST.snapshot, byRoot(root, "snapshot"));
  const targets = await listed("targets", snapshot, MOST.targets, byRoot(root, "targets"));
  const role = await listed(model, snapshot, MOST.targets, byTargets(targets, model));
  const held = { timestamp, snapshot, targets, [model]: role };
  const issued = issuedOf(timestamp);
  const known = memory.roles["timestamp"];
  const floor = known?.keys === timestamp.by.digest ? memory.floor : 0;
  checkNotLate({ root, ...held }, clock, floor);
  checkNotBack(held, memory);
  const manifest = await manifestOf(role, model, read);
  const seen = Object.entries(held).map(([name, { version, by }]) => [name, { version, keys: by.digest }] as const);
  const roles = { ...memory.roles, ...Object.fromEntries(seen) };
  return { manifest, keys: role.by.digest, memory: { root: bytes, floor: Math.max(floor, issued), roles } };

  async function file(name: string, path: string, most: number, by: Signers): Promise<Held> {
    const data = await needed(read, path, most);
    const found = readMetadata(data, name === model ? "targets" : name);
    await checkSigned(found, by, name);
    return { ...found, by };
  }

  /** The file whose version another one names. */
  async function listed(name: string, within: Metadata, most: number, by: Signers): Promise<Held> {
    const meta = map(map(within.signed.get("meta"), "the list of files").get(`${name}.json`), `the entry of ${name}`);
    const version = integer(meta.get("version"), "a version");
    const length = meta.has("length") ? Math.min(most, integer(meta.get("length"), "a length")) : most;
    const found = await file(name, `metadata/${version}.${name}.json`, length, by);
    if (found.version !== version) {
      throw refusal("mix_and_match", `${name} is refused: its version is not the one that the others name`);
    }
    return found;
  }
}

/** The newest root that follows from the one that is trusted. */
async function newestRoot(trusted: Bytes, read: Read): Promise<{ root: Metadata; bytes: Bytes }> {
  let [root, bytes] = [readMetadata(trusted, "root"), trusted];
  await checkSigned(root, byRoot(root, "root"), "root");
  for (let i = 0; i < MOST_ROOTS; i++) {
    const data = await read(`metadata/${root.version + 1}.root.json`, MOST.root);
    if (data === undefined) break;
    const next = readMetadata(data, "root");
    await checkSigned(next, byRoot(root, "root"), "root");
    if (next.version !== root.version + 1) throw refusal("mix_and_match", "root is refused: it is not the next one");
    await checkSigned(next, byRoot(next, "root"), "root");
    [root, bytes] = [next, data];
  }
  return { root, bytes };
}

function byRoot(root: Metadata, role: string): Signers {
  const roles = map(root.signed.get("roles"), "the roles");
  return signersOf(root.signed.get("keys"), map(roles.get(role), `the role ${role}`));
}

/** Who signs for a model: a role of its own, for the manifest's path. */
function byTargets(targets: Metadata, model: string): Signers {
  const delegations = targets.signed.get("delegations");
  const roles = delegations instanceof Map ? list(delegations.get("roles") ?? [], "the roles") : [];
  const role = roles.map((one) => map(one, "a role")).find((one) => one.get("name") === model);
  if (!(delegations instanceof Map) || role === undefined || !covers(role, model)) {
    throw new NoSuchModelError(`the repository has no model ${model}`);
  }
  return signersOf(delegations.get("keys"), role);
}

function covers(role: CborMap, model: string): boolean {
  const paths = role.get("paths");
  return Array.isArray(paths) && paths.includes(`${model}/*`);
}

/** When the timestamp was made; 0 when another publisher's does not say. */
function issuedOf(timestamp: Metadata): number {
  const issued = timestamp.signed.get(ISSUED);
  if (typeof issued !== "number" && typeof issued !== "bigint") return 0;
  if (issued > timestamp.expires) throw malformed("the timestamp says that it was made after its own end");
  return Number(issued);
}

function checkNotLate(files: Readonly<Record<string, Metadata>>, clock: number, floor: number): void {
  for (const [name, { expires }] of Object.entries(files)) {
    const what = `the ${name} metadata has expired: newer metadata is held back, or was not made`;
    if (floor >= expires) throw refusal("expired", what);
    if (clock >= expires) throw refusal("expired", what, CHECK_CLOCK);
  }
}

function checkNotBack(files: Readonly<Record<string, Held>>, memory: Memory): void {
  for (const [name, { version, by }] of Object.entries(files)) {
    const known = memory.roles[name];
    if (known?.keys === by.digest && version < known.version) {
      throw refusal("rollback", `${name} is version ${version}, and this phone has seen ${known.version}`);
    }
  }
}

async function manifestOf(role: Metadata, model: string, read: Read): Promise<Bytes> {
  const target = map(role.signed.get("targets"), "the targets").get(`${model}/manifest.cbor`);
  if (target === undefined) throw new NoSuchModelError(`the repository has no model ${model}`);
  const said = map(target, "a target");
  const length = integer(said.get("length"), "a length");
  const digest = text(map(said.get("hashes"), "the digests").get("sha256"), "a digest");
  if (!SHA256.test(digest)) throw malformed("a digest is none");
  if (length > MOST_MANIFEST) throw refusal("too_large", "the manifest is too large");
  const data = await needed(read, `targets/${model}/${digest}.manifest.cbor`, length);
  if (data.length !== length || toHex(sha256(data)) !== digest) {
    throw refusal("wrong_hash", "the manifest is refused: its content is not what was signed");
  }
  return data;
}

async function needed(read: Read, path: string, most: number): Promise<Bytes> {
  const data = await read(path, most);
  if (data === undefined) throw new CallFailedError("unreachable", `the repository has no ${path} now`);
  return data;
}
