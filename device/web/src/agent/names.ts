/** Names that can stand in a certificate (`security/certificates/subject.py`). */

import type { CborValue } from "../canonical/index.ts";
import { InputError } from "../errors.ts";

const FEDERATION = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** @throws InputError when it cannot be a federation's name. */
export function checkFederation(value: CborValue | undefined): string {
  if (typeof value !== "string" || !FEDERATION.test(value)) throw new InputError("not a federation's name");
  return value;
}

/** @throws InputError when it cannot be the name of a member. */
export function checkMemberName(value: string): string {
  if (NAME.test(value)) return value;
  throw new InputError(
    "this cannot be the phone's name",
    "1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit",
  );
}
