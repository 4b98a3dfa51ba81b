/**
 * Files of a base from the gateway, in pieces that are kept: a download that breaks off goes on where it was. A file is
 * one when it has the digest that was named; what was kept is checked again whenever it is read.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { CallFailedError, type Answer } from "../agent/line.ts";
import { concat, toHex, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";
import type { Change, Database } from "../storage/database.ts";

const FOLDER = "/v1/repository/bases";
const PIECE = 1 << 19;

/** A signed GET. */
export type Get = (path: string, headers: Record<string, string>, longest: number) => Promise<Answer>;

export class Download {
  constructor(
    private readonly database: Database,
    private readonly get: Get,
    private readonly step: (share: number) => void,
  ) {}

  /** A file, whole and checked. */
  async file(digest: string, name: string, wanted: string, most: number): Promise<Bytes> {
    const key = `${digest}/${name}`;
    const kept = await this.database.get("files", key);
    if (kept instanceof Uint8Array && toHex(sha256(kept)) === wanted) return kept as Bytes;
    for (const again of [true, false]) {
      const { data, pieces } = await this.#fetched(key, most);
      const gone: Change[] = pieces.map((piece) => ({ store: "files", key: piece }));
      if (toHex(sha256(data)) === wanted) {
        await this.database.write([{ store: "files", key, value: data }, ...gone]);
        return data;
      }
      await this.database.write(gone); // what was here may have been damaged: all of it once more
      if (!again) break;
    }
    throw new InputError("what came is not the base model that was named");
  }

  /** All pieces of a file: those that are here, and those that lack. */
  async #fetched(key: string, most: number): Promise<{ data: Bytes; pieces: string[] }> {
    const pieces: Bytes[] = [];
    const names: string[] = [];
    let [held, size] = [0, Infinity];
    while (held < size) {
      const name = `${key}#${String(pieces.length).padStart(6, "0")}`;
      const kept = await this.database.get("files", name);
      let piece = kept as { data: Bytes; size: number } | undefined;
      if (piece === undefined) {
        piece = await this.#piece(key, held, most);
        await this.database.write([{ store: "files", key: name, value: piece }]);
      }
      size = piece.size;
      held += piece.data.length;
      pieces.push(piece.data);
      names.push(name);
      this.step(held / size);
    }
    return { data: concat(pieces), pieces: names };
  }

  async #piece(key: string, from: number, most: number): Promise<{ data: Bytes; size: number }> {
    const headers = { range: `bytes=${from}-${from + PIECE - 1}` };
    const { status, headers: said, content } = await this.get(`${FOLDER}/${key}`, headers, PIECE);
    if (status === 404) throw new InputError("the gateway does not have this base model");
    const [, first = "", last = "", whole = ""] =
      /^bytes (\d+)-(\d+)\/(\d+)$/.exec(said.get("content-range") ?? "") ?? [];
    const size = Number(whole);
    const fits = Number(first) === from && Number(last) - from + 1 === content.length && content.length > 0;
    if (status !== 206 || !fits || size > most) {
      throw new CallFailedError("unreachable", `the gateway does not give the base model now (${status})`);
    }
    return { data: content, size };
  }
}
