/** The phone for a page: its Worker behind the seam of `phone.ts`. */

import { errorOf, type Call, type Said } from "./messages.ts";
import type { Guess, Phone, PhoneView, StoredExample } from "./phone.ts";
import { FIRST_VIEW } from "./view.ts";

export { readInvite } from "./link.ts";
export * from "./phone.ts";

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Opens this browser's phone. One for a page; it lives as long as the page. */
export function openPhone(): Phone {
  return new PhoneInWorker();
}

class PhoneInWorker implements Phone {
  view: PhoneView = FIRST_VIEW;
  readonly #worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "phone" });
  readonly #listeners = new Set<(view: PhoneView) => void>();
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;

  constructor() {
    this.#worker.addEventListener("message", ({ data }: MessageEvent<Said>) => {
      this.#hear(data);
    });
    this.#worker.addEventListener("error", () => {
      this.#hear({ view: { ...this.view, activity: "offline", reason: BROKEN } });
    });
    const show = (): void => {
      this.#post({ visible: document.visibilityState === "visible" });
    };
    document.addEventListener("visibilitychange", show);
    show();
  }

  subscribe(listener: (view: PhoneView) => void): () => void {
    this.#listeners.add(listener);
    listener(this.view);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  async enrol(...[{ text }, name, terms]: Parameters<Phone["enrol"]>): Promise<void> {
    await navigator.storage.persist();
    await this.#call("enrol", text, name, terms);
  }

  async addExample(...given: Parameters<Phone["addExample"]>): Promise<void> {
    await this.#call("addExample", ...given);
  }

  async removeExample(id: number): Promise<void> {
    await this.#call("removeExample", id);
  }

  async examples(): Promise<readonly StoredExample[]> {
    return (await this.#call("examples")) as StoredExample[];
  }

  async guess(...given: Parameters<Phone["guess"]>): Promise<Guess | null> {
    return (await this.#call("guess", ...given)) as Guess | null;
  }

  async pause(): Promise<void> {
    await this.#call("pause", true);
  }

  async resume(): Promise<void> {
    await this.#call("pause", false);
  }

  async leave(erase: boolean): Promise<void> {
    await this.#call("leave", erase);
  }

  #call(name: string, ...given: readonly unknown[]): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#post({ id, name, given });
    });
  }

  #post(call: Call): void {
    this.#worker.postMessage(call);
  }

  #hear(said: Said): void {
    if ("view" in said) {
      this.view = said.view;
      for (const listener of this.#listeners) listener(said.view);
      return;
    }
    const waiting = this.#waiting.get(said.id);
    this.#waiting.delete(said.id);
    if ("error" in said) waiting?.reject(errorOf(said.error));
    else waiting?.resolve(said.result);
  }
}

const BROKEN = { code: "failed", sentence: "the phone's own program did not start: reload the page" };
