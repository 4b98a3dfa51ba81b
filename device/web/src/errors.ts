/** The errors of `core/errors.py` that a browser's device can meet: what happened, and how to mend it. */

/** Root of all errors that are raised on purpose. */
export class SkerryError extends Error {
  /** Literal in each class: a minifier renames the classes, and a reply tells the server this name. */
  override readonly name: string = "SkerryError";

  /**
   * @param what one sentence that states the fault.
   * @param mend what the reader can do about it.
   */
  constructor(
    readonly what: string,
    readonly mend?: string,
  ) {
    super(mend === undefined ? what : `${what} -> ${mend}`);
  }
}

/** What was given cannot be used. */
export class InputError extends SkerryError {
  override readonly name: string = "InputError";
}

/** What was asked for is not done; `reason` is a stable code for logs and replies. */
export class RefusedError extends SkerryError {
  override readonly name: string = "RefusedError";

  constructor(
    readonly reason: string,
    what: string,
    mend?: string,
  ) {
    super(what, mend);
  }
}

/** A sealed message is turned away. */
export class EnvelopeRefusedError extends RefusedError {
  override readonly name: string = "EnvelopeRefusedError";
}

/** The ledger's promise would be broken. */
export class BudgetExceededError extends RefusedError {
  override readonly name: string = "BudgetExceededError";
}

/** A ledger's bytes are not what was written. */
export class LedgerCorruptError extends RefusedError {
  override readonly name: string = "LedgerCorruptError";
}

/** A release is turned away (`security/delivery/refusal.py`). */
export class ReleaseRefusedError extends RefusedError {
  override readonly name: string = "ReleaseRefusedError";
}
