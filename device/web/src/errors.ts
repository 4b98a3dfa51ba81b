/** The errors of `core/errors.py` that a browser's device can meet: what happened, and how to mend it. */

/** Root of all errors that are raised on purpose. */
export class SkerryError extends Error {
  /**
   * @param what one sentence that states the fault.
   * @param mend what the reader can do about it.
   */
  constructor(
    readonly what: string,
    readonly mend?: string,
  ) {
    super(mend === undefined ? what : `${what} -> ${mend}`);
    this.name = new.target.name;
  }
}

/** What was given cannot be used. */
export class InputError extends SkerryError {}

/** What was asked for is not done; `reason` is a stable code for logs and replies. */
export class RefusedError extends SkerryError {
  constructor(
    readonly reason: string,
    what: string,
    mend?: string,
  ) {
    super(what, mend);
  }
}

/** A sealed message is turned away. */
export class EnvelopeRefusedError extends RefusedError {}

/** The ledger's promise would be broken. */
export class BudgetExceededError extends RefusedError {}

/** A ledger's bytes are not what was written. */
export class LedgerCorruptError extends RefusedError {}
