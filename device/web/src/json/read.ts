/**
 * JSON that keeps what `JSON.parse` loses: whether a number was 1 or 1.0, whole numbers of any size, and the order and
 * names of keys. What is read is written again and compared by whoever needs one spelling.
 */

import { Float, type CborMap, type CborValue } from "../canonical/index.ts";
import { InputError } from "../errors.ts";

const DEEPEST = 512;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SPACE = /[ \t\n\r]*/y;
const WORDS: readonly (readonly [string, CborValue])[] = [
  ["null", null],
  ["true", true],
  ["false", false],
];

/** @throws InputError when the text is no JSON. */
export function readJson(text: string): CborValue {
  const reader = new Reader(text);
  const value = reader.value(DEEPEST);
  reader.skip();
  if (reader.at !== text.length) throw refused();
  return value;
}

function refused(): InputError {
  return new InputError("the text is not JSON");
}

class Reader {
  at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  value(deeper: number): CborValue {
    if (deeper < 1) throw refused();
    this.skip();
    const first = this.#text[this.at];
    if (first === "{") return this.#map(deeper);
    if (first === "[") return this.#list(deeper);
    if (first === '"') return this.#string();
    for (const [word, value] of WORDS) {
      if (this.#text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.#number();
  }

  skip(): void {
    this.#match(SPACE);
  }

  #match(pattern: RegExp): RegExpExecArray {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.#text);
    if (found === null) throw refused();
    this.at = pattern.lastIndex;
    return found;
  }

  #next(wanted: string): boolean {
    this.skip();
    if (this.#text[this.at] !== wanted) return false;
    this.at++;
    return true;
  }

  #need(wanted: string): void {
    if (!this.#next(wanted)) throw refused();
  }

  #number(): CborValue {
    const [text, fraction, power] = this.#match(NUMBER);
    if (fraction !== undefined || power !== undefined) return new Float(Number(text));
    const value = BigInt(text);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  #string(): string {
    this.skip();
    return JSON.parse(this.#match(STRING)[0]) as string;
  }

  #list(deeper: number): CborValue[] {
    this.at++;
    const items: CborValue[] = [];
    if (this.#next("]")) return items;
    do items.push(this.value(deeper - 1));
    while (this.#next(","));
    this.#need("]");
    return items;
  }

  #map(deeper: number): CborMap {
    this.at++;
    const items: CborMap = new Map();
    if (this.#next("}")) return items;
    do {
      const key = this.#string();
      this.#need(":");
      items.set(key, this.value(deeper - 1));
    } while (this.#next(","));
    this.#need("}");
    return items;
  }
}
