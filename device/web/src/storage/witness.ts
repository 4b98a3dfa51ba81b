/**
 * What is kept of the ledger outside its database: the hash of its newest entry, and that there was one. So a database
 * that was thrown away, or put back from a copy, is noticed, and no budget is started anew for the same examples.
 */

const CACHE = "skerry-witness";
const PLACE = "/phone/witness"; // never asked for: a name within the cache

/** Remembers one text. */
export interface Witness {
  read(): Promise<string | undefined>;
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
    await (await caches.open(CACHE)).put(PLACE, new Response(text));
  },
  async forget() {
    await caches.delete(CACHE);
  },
};
