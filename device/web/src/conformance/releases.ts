/** Opening a release against `releases.json`. */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex, type Bytes } from "../bytes.ts";
import { binOf, openWrap } from "../delivery/bins.ts";
import { readManifest } from "../delivery/manifest.ts";
import { blobBytes, decrypt, encrypt } from "../delivery/stream.ts";
import { ReleaseRefusedError } from "../errors.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { identityOf, type Person } from "./people.ts";

interface Opened {
  readonly who: Person;
  readonly manifest: string;
  readonly name: string;
  readonly version: number;
  readonly run: string;
  readonly created: number;
  readonly digest: string;
  readonly content_digest: string;
  readonly files: readonly (readonly (string | number)[])[];
  readonly index: string;
  readonly bin_digest: string;
  readonly bin: string;
}
interface Sealed {
  readonly text: string;
  readonly salt: string;
  readonly blob: string;
}
interface Refused<T> {
  readonly why: string;
  readonly given: T;
  readonly reason: string;
}
interface Vectors {
  readonly key: string;
  readonly opened: readonly Opened[];
  readonly blobs: readonly Sealed[];
  readonly long: { readonly size: number; readonly salt: string; readonly blob: string; readonly blob_size: number };
  readonly refused: {
    readonly manifest: readonly Refused<string>[];
    readonly wrap: readonly Refused<{ readonly who: Person; readonly bin?: string; readonly index?: string }>[];
    readonly blob: readonly Refused<string>[];
  };
}

export function releasesCases(file: unknown): Case[] {
  const { key, opened, blobs, long, refused } = file as Vectors;
  const signed = opened[0]?.manifest ?? "";
  return [
    ...opened.map((vector) => ({ name: `opened by ${vector.who.name}`, run: () => checkOpened(vector, key) })),
    ...blobs.map((vector, i) => ({ name: `blob ${i}`, run: () => checkBlob(vector, key) })),
    { name: "several chunks", run: () => checkLong(long, key) },
    ...refused.manifest.map(({ why, given, reason }) => ({
      name: `manifest, ${why}`,
      run: () => checkRefused(reason, () => readManifest(bytesOf(given))),
    })),
    ...refused.wrap.map(({ why, given: { who, bin, index }, reason }) => ({
      name: `wrap, ${why}`,
      run: () =>
        checkRefused(reason, async () =>
          bin === undefined
            ? binOf(bytesOf(index ?? ""), who.name)
            : openWrap(bytesOf(bin), readManifest(bytesOf(signed)), await identityOf(who)),
        ),
    })),
    ...refused.blob.map(({ why, given, reason }) => ({
      name: `blob, ${why}`,
      run: () => checkRefused(reason, () => decrypt(bytesOf(given), bytesOf(key))),
    })),
  ];
}

async function checkRefused(reason: string, run: () => unknown): Promise<void> {
  same((await thrown(ReleaseRefusedError, run)).reason, reason, "reason");
}

async function checkOpened(vector: Opened, key: string): Promise<void> {
  const manifest = readManifest(bytesOf(vector.manifest));
  const { name, version, run, created, digest, contentDigest, wraps } = manifest;
  same(
    JSON.stringify([name, version, run, created]),
    JSON.stringify([vector.name, vector.version, vector.run, vector.created]),
  );
  same(digest, vector.digest, "digest");
  same(toHex(contentDigest), vector.content_digest, "digest of the contents");
  const files = manifest.files.map((one) => [one.name, one.size, one.sha256, one.blob, one.blobSize]);
  same(JSON.stringify(files), JSON.stringify(vector.files), "files");
  same(toHex(sha256(bytesOf(vector.index))), wraps, "digest of the list");
  same(binOf(bytesOf(vector.index), vector.who.name), vector.bin_digest, "bin");
  same(toHex(sha256(bytesOf(vector.bin))), vector.bin_digest, "digest of the bin");
  const me = await identityOf(vector.who);
  same(toHex(await openWrap(bytesOf(vector.bin), manifest, me)), key, "key");
  await signs(me, vector.who);
}

/** The signing key of a person is no part of a wrap; it belongs to the public one all the same. */
async function signs(me: Awaited<ReturnType<typeof identityOf>>, who: Person): Promise<void> {
  const text = bytesOf("01");
  const key = await crypto.subtle.importKey("raw", bytesOf(who.signing_key), "Ed25519", false, ["verify"]);
  const signed = new Uint8Array([7, ...new TextEncoder().encode("vectors"), ...text]);
  const holds = await crypto.subtle.verify("Ed25519", key, await me.sign("vectors", text), signed);
  same(String(holds), "true", "signature");
}

async function checkBlob({ text, salt, blob }: Sealed, key: string): Promise<void> {
  same(toHex(await decrypt(bytesOf(blob), bytesOf(key))), text, "plaintext");
  same(toHex(await encrypt(bytesOf(text), bytesOf(key), bytesOf(salt))), blob, "blob");
}

async function checkLong({ size, salt, blob, blob_size: length }: Vectors["long"], key: string): Promise<void> {
  const text: Bytes = Uint8Array.from({ length: size }, (_, i) => i % 251);
  const sealed = await encrypt(text, bytesOf(key), bytesOf(salt));
  same(toHex(sha256(sealed)), blob, "digest of the blob");
  same(`${sealed.length} ${blobBytes(size)}`, `${length} ${length}`, "length");
  same(toHex(sha256(await decrypt(sealed, bytesOf(key)))), toHex(sha256(text)), "digest of what it holds");
  // chunks that are moved, doubled, or left out are not what was sealed
  const [chunk, from] = [(1 << 18) + 16, 72];
  const [first, second] = [sealed.slice(from, from + chunk), sealed.slice(from + chunk, from + 2 * chunk)];
  const [before, after] = [sealed.slice(0, from), sealed.slice(from + 2 * chunk)];
  for (const parts of [
    [second, first, after],
    [first, after],
    [first, second],
    [first, second, second, after],
  ]) {
    const altered = new Uint8Array(await new Blob([before, ...parts]).arrayBuffer());
    await checkRefused("blob_altered", () => decrypt(altered, bytesOf(key)));
  }
}
