/** Keeps the screen on while the phone works: a phone that goes to sleep stops the page. */

const NOT_KEPT = "This browser does not keep the screen on. Touch it now and then while the phone trains.";

/** One for the page. */
export class Awake {
  readonly #said: (sentence: string) => void;
  #lock: WakeLockSentinel | null = null;
  #wanted = false;
  #told = false;
  #asking = false;

  /** @param said is told once where the screen cannot be kept on. */
  constructor(said: (sentence: string) => void) {
    this.#said = said;
    document.addEventListener("visibilitychange", () => void this.#settle()); // a hidden page loses the lock
  }

  /** Whether the screen should stay on from now on. */
  want(wanted: boolean): void {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    void this.#settle();
  }

  async #settle(): Promise<void> {
    if (this.#asking) return; // it looks again when it has its answer
    const hold = this.#wanted && document.visibilityState === "visible";
    if (!hold) {
      const held = this.#lock;
      this.#lock = null;
      await held?.release();
      return;
    }
    if (this.#lock?.released === false) return;
    this.#asking = true;
    try {
      const lock = (navigator as { readonly wakeLock?: WakeLock }).wakeLock; // not everywhere
      if (lock === undefined) throw new DOMException("", "NotSupportedError");
      this.#lock = await lock.request("screen");
    } catch {
      this.#lock = null; // an empty battery, or a browser without it
      if (!this.#told) this.#said(NOT_KEPT);
      this.#told = true;
      return;
    } finally {
      this.#asking = false;
    }
    if (!this.#wanted) await this.#settle();
  }
}
