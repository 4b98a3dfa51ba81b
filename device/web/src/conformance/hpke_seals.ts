/** Sealing against `hpke_seals.json`. */

import { toHex } from "../bytes.ts";
import { InputError } from "../errors.ts";
import { KemKeyPair, KemPublicKey, type KemSuite } from "../security/hpke.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { pairOf } from "./people.ts";

interface Keys {
  readonly suite: KemSuite;
  readonly private: string;
  readonly public: string;
  readonly info: string;
}
interface Sealed extends Keys {
  readonly ephemeral_private: string;
  readonly ephemeral_public: string;
  readonly plaintext: string;
  readonly sealed: string;
}
interface Vectors {
  readonly sealed: readonly Sealed[];
  readonly unopened: readonly (Keys & { readonly given: string; readonly why: string })[];
  readonly unusable: readonly { readonly suite: KemSuite; readonly given: string; readonly why: string }[];
}

export function hpkeSealsCases(file: unknown): Case[] {
  const { sealed, unopened, unusable } = file as Vectors;
  return [
    ...sealed.map((vector, i) => ({ name: `sealed ${i}`, run: () => checkSealed(vector) })),
    ...unopened.map(({ given, why, ...keys }) => ({
      name: `${keys.suite}, ${why}`,
      run: async () => {
        const pair = await keyPair(keys);
        // under the same key and info something does open, so it is the change that is refused
        const good = sealed.find((v) => v.suite === keys.suite && v.public === keys.public && v.info === keys.info);
        if (good === undefined) throw new Error("no sealed case has these keys");
        same(toHex((await pair.open(bytesOf(good.sealed), bytesOf(keys.info))) ?? new Uint8Array()), good.plaintext);
        if (await pair.open(bytesOf(given), bytesOf(keys.info))) throw new Error("opened");
      },
    })),
    ...unusable.map(({ suite, given, why }) => ({
      name: `${suite} key, ${why}`,
      run: async () => {
        await thrown(InputError, () => KemPublicKey.of(suite, bytesOf(given)));
      },
    })),
  ];
}

async function keyPair(keys: Keys): Promise<KemKeyPair> {
  return new KemKeyPair(keys.suite, await pairOf(keys.suite, keys.private, keys.public), bytesOf(keys.public));
}

async function checkSealed(vector: Sealed): Promise<void> {
  const info = bytesOf(vector.info);
  const opened = await (await keyPair(vector)).open(bytesOf(vector.sealed), info);
  same(opened === undefined ? "not opened" : toHex(opened), vector.plaintext, "plaintext");
  const receiver = await KemPublicKey.of(vector.suite, bytesOf(vector.public));
  const once = await pairOf(vector.suite, vector.ephemeral_private, vector.ephemeral_public);
  same(toHex(await receiver.seal(bytesOf(vector.plaintext), info, once)), vector.sealed, "sealed");
}
