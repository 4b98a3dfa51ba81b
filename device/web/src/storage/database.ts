/**
 * What the phone keeps, in one IndexedDB database: keys, place in the federation, ledger, work under way, examples,
 * bases, what came of a release. One database, so that a browser that throws it away throws away all of it, the examples with their ledger.
 *
 * `write` is all or nothing, and returns when the browser says that it is on stable storage (durability `strict`):
 * what depends on it is done after that.
 */

import { RefusedError, SkerryError } from "../errors.ts";

const VERSION = 2;
const STORES = ["state", "ledger", "examples", "files", "releases"] as const;

/** `state` by name; `ledger` by number of the line; `examples` by id; `files` by `digest/name` and part; `releases` by blob and part. */
export type StoreName = (typeof STORES)[number];
export type Key = string | number;

/** One change; without a value it is removed. `fresh`: refused, with all others, where there is something already. */
export interface Change {
  readonly store: StoreName;
  readonly key: Key;
  readonly value?: unknown;
  readonly fresh?: boolean;
}

/** Something could not be kept. */
export class StorageError extends SkerryError {
  override readonly name: string = "StorageError";
}

/** An open database of one name. */
export class Database {
  private constructor(private readonly base: IDBDatabase) {}

  /** @throws StorageError when the browser gives none (private windows of some browsers). */
  static async open(name: string, factory: IDBFactory = indexedDB): Promise<Database> {
    const asked = factory.open(name, VERSION);
    asked.onupgradeneeded = () => {
      const there = asked.result.objectStoreNames;
      for (const store of STORES) if (!there.contains(store)) asked.result.createObjectStore(store);
    };
    const base = await settled(asked, "the browser keeps nothing for this page");
    base.onversionchange = () => {
      base.close();
    };
    return new Database(base);
  }

  async get(store: StoreName, key: Key): Promise<unknown> {
    return settled(this.#reading(store).get(key), "what was kept cannot be read");
  }

  /** Keys and values, in the order of the keys. */
  async entries(store: StoreName): Promise<(readonly [Key, unknown])[]> {
    const from = this.#reading(store);
    const [keys, values] = await Promise.all([
      settled(from.getAllKeys(), "what was kept cannot be read"),
      settled(from.getAll(), "what was kept cannot be read"),
    ]);
    return keys.map((key, i) => [key as Key, values[i] as unknown] as const);
  }

  async keys(store: StoreName): Promise<Key[]> {
    return (await settled(this.#reading(store).getAllKeys(), "what was kept cannot be read")) as Key[];
  }

  /**
   * All changes, or none.
   *
   * @throws RefusedError `ledger_in_use` when a fresh key was taken: another page has written meanwhile.
   * @throws StorageError when the browser has no room.
   */
  async write(changes: readonly Change[]): Promise<void> {
    const stores = [...new Set(changes.map(({ store }) => store))];
    if (stores.length === 0) return;
    const transaction = this.base.transaction(stores, "readwrite", { durability: "strict" });
    const done = finished(transaction);
    for (const { store, key, value, fresh } of changes) {
      const into = transaction.objectStore(store);
      if (value === undefined) into.delete(key);
      else if (fresh === true) into.add(value, key);
      else into.put(value, key);
    }
    await done;
  }

  /** Removes all of these but what is put into them in the same step. */
  async clear(stores: readonly StoreName[], kept: readonly Change[] = []): Promise<void> {
    const transaction = this.base.transaction(stores, "readwrite", { durability: "strict" });
    const done = finished(transaction);
    for (const store of stores) transaction.objectStore(store).clear();
    for (const { store, key, value } of kept) transaction.objectStore(store).put(value, key);
    await done;
  }

  close(): void {
    this.base.close();
  }

  #reading(store: StoreName): IDBObjectStore {
    return this.base.transaction(store, "readonly").objectStore(store);
  }
}

function settled<T>(request: IDBRequest<T>, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = () => {
      reject(new StorageError(`${what}: ${request.error?.message ?? "no reason given"}`));
    };
  });
}

function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => {
      resolve();
    };
    transaction.onabort = () => {
      const error = transaction.error;
      if (error?.name === "ConstraintError") {
        reject(new RefusedError("ledger_in_use", "another page has written meanwhile", "close the other page"));
      } else {
        const what =
          error?.name === "QuotaExceededError" ? "there is no room for it" : (error?.message ?? "broken off");
        reject(new StorageError(`it could not be kept: ${what}`, "make room on this phone, and try again"));
      }
    };
  });
}
