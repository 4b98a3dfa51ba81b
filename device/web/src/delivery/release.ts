/** Takes the newest release out of a repository: trusted, forward, ours, and whole (`security/delivery/client/device.py`). */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex, type Bytes } from "../bytes.ts";
import { ReleaseRefusedError } from "../errors.ts";
import type { Identity } from "../security/identity.ts";
import { binOf, MOST_BIN, MOST_INDEX, openWrap } from "./bins.ts";
import type { Blobs } from "./blobs.ts";
import { readManifest, type Manifest } from "./manifest.ts";
import { decrypt } from "./stream.ts";
import type { Believed } from "./trust/trust.ts";

/** The release that was accepted last, and which keys could sign it. */
export interface Accepted {
  readonly version: number;
  /** Of the manifest: names the release exactly. */
  readonly digest: string;
  readonly keys: string;
}

/**
 * The manifest of what is believed, newer than what was accepted or the very same.
 *
 * @throws ReleaseRefusedError `wrong_name`, `rollback`, `equivocation` or `malformed`.
 */
export function manifestOf(believed: Believed, model: string, accepted: Accepted | undefined): Manifest {
  const manifest = readManifest(believed.manifest);
  const { name, version, digest } = manifest;
  if (name !== model) throw new ReleaseRefusedError("wrong_name", `asked for ${model}, the release is of ${name}`);
  if (accepted?.keys !== believed.keys) return manifest; // whoever had stolen other keys may have signed any version
  if (version < accepted.version) {
    throw new ReleaseRefusedError(
      "rollback",
      `version ${version} is older than version ${accepted.version}, which is here`,
    );
  }
  if (version === accepted.version && digest !== accepted.digest) {
    throw new ReleaseRefusedError("equivocation", `two different releases call themselves version ${version}`);
  }
  return manifest;
}

/**
 * One file of a release, decrypted; it is the one that was signed.
 *
 * @throws ReleaseRefusedError with the reason.
 * @throws CallFailedError when the gateway cannot give it now; what came is kept.
 */
export async function fileOf(
  manifest: Manifest,
  name: string,
  most: number,
  device: Identity,
  blobs: Blobs,
): Promise<Bytes> {
  const file = manifest.files.find((one) => one.name === name);
  if (file === undefined) throw new ReleaseRefusedError("malformed", `the release has no ${name}`);
  if (file.size > most) throw new ReleaseRefusedError("too_large", `${name} of the release is too large`);
  if (manifest.cipher !== "aes-256-gcm") {
    throw new ReleaseRefusedError("other_cipher", `browsers do not open ${manifest.cipher}`, "ask the operator");
  }
  const index = await blobs.small(manifest.wraps, MOST_INDEX);
  const key = await openWrap(await blobs.small(binOf(index, device.name), MOST_BIN), manifest, device);
  await blobs.drop(file.blob, true); // of a version that is the newest no more
  const plain = await decrypt(await blobs.blob(file.blob, file.blobSize), key);
  if (plain.length !== file.size || toHex(sha256(plain)) !== file.sha256) {
    throw new ReleaseRefusedError("plaintext_altered", `${name} decrypts to other content than was signed`);
  }
  return plain;
}
