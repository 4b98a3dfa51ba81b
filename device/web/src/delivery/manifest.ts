/** What a release consists of: the one record that is signed (`security/delivery/manifest.py`). */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex, type Bytes } from "../bytes.ts";
import { encode, type CborMap, type CborValue } from "../canonical/index.ts";
import { InputError, ReleaseRefusedError } from "../errors.ts";
import { byCodePoint } from "../json/write.ts";
import { checkHex, checkInteger, checkName, readRecord } from "../security/strict.ts";
import { blobBytes } from "./stream.ts";

const LONGEST = 1 << 20;
const LARGEST_FILE = 2 ** 40;
const FIELDS = ["schema", "name", "version", "run", "publisher", "created", "cipher", "files", "deltas", "wraps"];
const FILE_FIELDS = ["name", "size", "sha256", "blob", "blob_size"];
const DELTA_FIELDS = ["file", "base", "size", "blob", "blob_size"];
const CIPHERS = ["aes-256-gcm", "chacha20-poly1305"];

/** One delivered file, and the blob that holds it. */
export interface ReleaseFile {
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
  readonly blob: string;
  readonly blobSize: number;
}

export interface Manifest {
  readonly name: string;
  readonly version: number;
  readonly run: string;
  /** Milliseconds since the epoch. */
  readonly created: number;
  readonly cipher: string;
  readonly files: readonly ReleaseFile[];
  /** Digest of the list of wraps. */
  readonly wraps: string;
  /** Names this release exactly. */
  readonly digest: string;
  /** 32 bytes that stand for all of it but the wraps: what a key is wrapped for. */
  readonly contentDigest: Bytes;
}

/** A manifest whose signature held. @throws ReleaseRefusedError `malformed` when it is none. */
export function readManifest(data: Bytes): Manifest {
  try {
    return manifestOf(data);
  } catch (error) {
    if (error instanceof InputError) throw new ReleaseRefusedError("malformed", `the manifest: ${error.what}`);
    throw error;
  }
}

function manifestOf(data: Bytes): Manifest {
  const record = readRecord(data, FIELDS, LONGEST);
  if (record.get("schema") !== 1) throw new InputError("the manifest's schema is not known");
  const cipher = record.get("cipher");
  if (typeof cipher !== "string" || !CIPHERS.includes(cipher)) throw new InputError("its cipher is not known");
  const files = items(record.get("files"), FILE_FIELDS).map(fileOf);
  const names = files.map(({ name }) => name);
  const different = new Set(names.map((name) => name.toLowerCase())).size === names.length;
  if (names.length === 0 || !different || !sorted(names)) {
    throw new InputError("its files are at least one, sorted by name, no two alike");
  }
  const shortened = items(record.get("deltas"), DELTA_FIELDS).map(deltaOf);
  if (!sorted(shortened) || !shortened.every((name, i) => names.includes(name) && name !== shortened[i - 1])) {
    throw new InputError("its deltas are at most one for each of its files, sorted by file");
  }
  checkName(record.get("publisher"), "the publisher");
  const contents = new Map([...record].filter(([field]) => field !== "wraps"));
  return {
    name: checkName(record.get("name"), "the model's name"),
    version: checkInteger(record.get("version"), "the version", 1),
    run: checkName(record.get("run"), "the run"),
    created: checkInteger(record.get("created"), "the time of creation"),
    ...{ cipher, files },
    wraps: checkHex(record.get("wraps"), "the digest of the wraps"),
    digest: toHex(sha256(data)),
    contentDigest: new Uint8Array(sha256(encode(contents))),
  };
}

function fileOf(item: CborMap): ReleaseFile {
  return {
    name: checkName(item.get("name"), "a file's name"),
    sha256: checkHex(item.get("sha256"), "a file's digest"),
    ...blobOf(item),
  };
}

function deltaOf(item: CborMap): string {
  checkHex(item.get("base"), "the digest of a delta's base");
  blobOf(item);
  return checkName(item.get("file"), "a file's name");
}

function blobOf(item: CborMap): Pick<ReleaseFile, "size" | "blob" | "blobSize"> {
  const size = checkInteger(item.get("size"), "a file's size", 0, LARGEST_FILE);
  const expected = blobBytes(size);
  const blobSize = checkInteger(item.get("blob_size"), "a blob's size", expected, expected);
  return { size, blobSize, blob: checkHex(item.get("blob"), "a blob's digest") };
}

function items(value: CborValue | undefined, fields: readonly string[]): CborMap[] {
  if (!Array.isArray(value)) throw new InputError("its files and deltas are lists");
  return value.map((item) => {
    if (!(item instanceof Map) || item.size !== fields.length || !fields.every((field) => item.has(field))) {
      throw new InputError("a file or delta has missing or unknown fields");
    }
    return item;
  });
}

function sorted(names: readonly string[]): boolean {
  return names.every((name, i) => i === 0 || byCodePoint(names[i - 1] ?? "", name) <= 0);
}
