/** Every file of vectors in `tests/conformance`, and what holds our code to it. */

import { canonicalCases } from "./canonical.ts";
import type { Case } from "./check.ts";
import { envelopeCases } from "./envelope.ts";
import { fleetCases } from "./fleet.ts";
import { gridCases } from "./grid.ts";
import { headCases } from "./head.ts";
import { hpkeCases } from "./hpke.ts";
import { hpkeSealsCases } from "./hpke_seals.ts";
import { leavingCases } from "./leaving.ts";
import { ledgerCases } from "./ledger.ts";
import { merkleCases } from "./merkle.ts";
import { messagesCases } from "./messages.ts";
import { noiseCases } from "./noise.ts";
import { picturesCases } from "./pictures.ts";
import { releasesCases } from "./releases.ts";
import { signaturesCases } from "./signatures.ts";
import { trustCases } from "./trust.ts";
import { whiteningCases } from "./whitening.ts";
import { wycheproofCases } from "./wycheproof.ts";

/** Cases of a file by its name, from its parsed content. */
export const CONFORMANCE: Readonly<Record<string, (file: unknown) => Case[]>> = {
  canonical: canonicalCases,
  envelope: envelopeCases,
  fleet: fleetCases,
  grid: gridCases,
  head: headCases,
  hpke: hpkeCases,
  hpke_seals: hpkeSealsCases,
  leaving: leavingCases,
  ledger: ledgerCases,
  merkle: merkleCases,
  messages: messagesCases,
  noise: noiseCases,
  pictures: picturesCases,
  releases: releasesCases,
  signatures: signaturesCases,
  trust: trustCases,
  whitening: whiteningCases,
  wycheproof: wycheproofCases,
};
