/**
 * Blobs of releases from the gateway, in ranges that are kept: a download that breaks off, or a page that is reloaded,
 * goes on where it was. No more is ever asked for or kept than was signed.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { CallFailedError, TooLongError, type Answer } from "../agent/line.ts";
import { concat, toHex, type Bytes } from "../bytes.ts";
import type { Change, Database } from "../storage/database.ts";
import type { Get } from "./download.ts";
import { refusal } from "./trust/metadata.ts";

const REPOSITORY = "/v1/repository";
/** 256 KiB: what a reload costs at most. */
const RANGE = 1 << 18;
const EMPTY = toHex(sha256(new Uint8Array()));

export class Blobs {
  constructor(
    private readonly database: Database,
    private readonly get: Get,
  ) {}

  /** A file that is asked for whole; `undefined` where there is none. @throws ReleaseRefusedError `endless_data` */
  async file(path: string, most: number): Promise<Bytes | undefined> {
    const { status, content } = await this.#asked(path, {}, most);
    if (status === 404) return undefined;
    if (status !== 200) throw new CallFailedError("unreachable", `the repository does not give ${path} (${status})`);
    return content;
  }

  /** Wraps: a small blob of a length that nobody has signed. @throws ReleaseRefusedError */
  async small(digest: string, most: number): Promise<Bytes> {
    if (digest === EMPTY) return new Uint8Array();
    const data = await this.file(`blobs/${digest}`, most);
    if (data === undefined) throw new CallFailedError("unreachable", "the repository lacks the wraps now");
    if (toHex(sha256(data)) !== digest) throw refusal("wrong_hash", "the wraps are not those that were signed");
    return data;
  }

  /**
   * A blob of a signed length and digest; its ranges stay until `drop`.
   *
   * @throws ReleaseRefusedError `endless_data` or `wrong_hash`; then nothing of it is kept.
   * @throws CallFailedError when the gateway breaks off; what came is kept.
   */
  async blob(digest: string, size: number): Promise<Bytes> {
    for (;;) {
      const { data, resumed } = await this.#ranges(digest, size);
      if (toHex(sha256(data)) === digest) return data;
      await this.drop(digest);
      // what was here may have been damaged: all of it once more
      if (!resumed) throw refusal("wrong_hash", "a file of the release is not the one that was signed");
    }
  }

  /** Forgets what is kept of a blob, or of all others than one. */
  async drop(digest: string, others = false): Promise<void> {
    const keys = (await this.database.keys("releases")).filter((key) => String(key).startsWith(digest) !== others);
    await this.database.write(keys.map((key): Change => ({ store: "releases", key })));
  }

  async #ranges(digest: string, size: number): Promise<{ data: Bytes; resumed: boolean }> {
    const parts: Bytes[] = [];
    let resumed = false;
    for (let at = 0; at < size; at += RANGE) {
      const key = `${digest}#${String(at / RANGE).padStart(6, "0")}`;
      const kept = await this.database.get("releases", key);
      const length = Math.min(RANGE, size - at);
      let part = kept instanceof Uint8Array && kept.length === length ? (kept as Bytes) : undefined;
      resumed ||= part !== undefined;
      if (part === undefined) {
        part = await this.#range(digest, at, length);
        await this.database.write([{ store: "releases", key, value: part }]);
      }
      parts.push(part);
    }
    return { data: concat(parts), resumed };
  }

  async #range(digest: string, at: number, length: number): Promise<Bytes> {
    const headers = { range: `bytes=${at}-${at + length - 1}` };
    const { status, content } = await this.#asked(`blobs/${digest}`, headers, length);
    if (status !== 206 || content.length !== length) {
      throw new CallFailedError("unreachable", `the gateway does not give the release now (${status})`);
    }
    return content;
  }

  async #asked(path: string, headers: Record<string, string>, most: number): Promise<Answer> {
    try {
      return await this.get(`${REPOSITORY}/${path}`, headers, most);
    } catch (error) {
      if (error instanceof TooLongError)
        throw refusal("endless_data", `${path} is longer than anything that was signed`);
      throw error;
    }
  }
}
