/**
 * What is kept of the ledger outside its database: the hash of its newest entry, and that there was one. So a database
 * that was thrown away, or put back from a copy, is noticed, and no budget is started anew for the same examples.
 */

import { StorageError } from "./database.ts";

const CACHE = "skerry-witness";
const PLACE = "/phone/witness"; // never asked for: a name within the cache

/** Remembers one text. */
export interface Witness {
  read(): Promise<string | undefined>;
  /** @throws StorageError when there is no room. */
  write(text: string): Promise<void>;
  forget(): Promise<void>;
}

/** In the browser's Cache Storage, which workers reach too. */
export const cacheWitness: Witness = {
  async read() {
    const found = await (await caches.open(CACHE)).match(PLACE);
    return found?.text();
  },
  async write(text) {
    if ((await this.read()) === text) return; // a full disk stops only who has something new to keep
    try {
      await (await caches.open(CACHE)).put(PLACE, new Response(text));
    } catch (error) {
      const why = error instanceof Error ? error.message : "no reason given";
      throw new StorageError(`it could not be kept: ${why}`, "make room on this phone, and try again");
    }
  },
  async forget() {
    await caches.delete(CACHE);
  },
};
