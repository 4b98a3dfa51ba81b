/** What page and Worker say to each other: calls by name, their results, and views. Keys never cross. */

import { InputError, RefusedError, SkerryError } from "../errors.ts";
import { CallFailedError } from "./line.ts";
import type { PhoneView } from "./phone.ts";

/** From the page. */
export type Call =
  { readonly id: number; readonly name: string; readonly given: readonly unknown[] } | { readonly visible: boolean };

/** An error as it crosses. */
export interface Told {
  readonly kind: string;
  readonly code: string;
  readonly what: string;
  readonly mend: string | undefined;
}

/** From the Worker. */
export type Said =
  | { readonly view: PhoneView }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: Told };

export function told(error: unknown): Told {
  if (!(error instanceof SkerryError)) {
    return { kind: "Error", code: "failed", what: error instanceof Error ? error.message : "failed", mend: undefined };
  }
  const code = error instanceof RefusedError ? error.reason : error instanceof CallFailedError ? error.fault : "failed";
  return { kind: error.name, code, what: error.what, mend: error.mend };
}

/** The error that was told, with its sentences. */
export function errorOf({ kind, code, what, mend }: Told): SkerryError {
  if (kind === "InputError") return new InputError(what, mend);
  if (code !== "failed") return new RefusedError(code, what, mend);
  return new SkerryError(what, mend);
}
