/** Waiting that ends at once when somebody rings. */

export class Alarm {
  #wakers = new Set<() => void>();

  /** Returns after so many ms, or when it is rung. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#wakers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.#wakers.add(wake);
    });
  }

  /** Wakes everybody who sleeps. */
  ring(): void {
    for (const wake of [...this.#wakers]) wake();
  }
}
