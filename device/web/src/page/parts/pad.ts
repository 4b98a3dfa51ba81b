/** The pad on which a digit is drawn: by finger, pen or mouse, or by keys; a captured photograph lies on it as ink. */

import type { Picture } from "../../agent/phone.ts";
import { blank } from "../ink.ts";
import { h } from "../dom.ts";

interface Point {
  readonly x: number;
  readonly y: number;
}

const SIDE = 448; // of the pad's own bitmap; shown at any size
const GIVEN = 112; // of the picture that is handed on
const PEN = SIDE / 13; // as wide as MNIST's strokes are in their box
const STEP = SIDE / 16; // of an arrow key
const WAIT_MS = 120; // while a stroke grows, a guess is asked for no more often

const HELP =
  "Draw with a finger. By keys: arrows move the pen, Space sets it down or lifts it, Backspace takes a stroke back, " +
  "and a digit key keeps the picture as that digit.";

/** What the pad tells its owner. */
export interface PadEvents {
  /** The drawing changed. */
  readonly changed: () => void;
  /** A digit key was pressed. */
  readonly labelled: (label: number) => void;
  /** Something to say to a screen reader. */
  readonly said: (sentence: string) => void;
}

/** One for the page. */
export class Pad {
  readonly element: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #cursor: HTMLElement;
  readonly #hint: HTMLElement;
  readonly #events: PadEvents;
  #strokes: Point[][] = [];
  #photo: Picture | null = null;
  #drawing: number | null = null; // the pointer that draws
  #pen: Point = { x: SIDE / 2, y: SIDE / 4 };
  #down = false;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(events: PadEvents) {
    this.#events = events;
    this.#canvas = h("canvas", {
      class: "pad-canvas", width: SIDE, height: SIDE, tabindex: 0, role: "application",
      "aria-label": "Drawing pad", "aria-roledescription": "drawing pad", "aria-describedby": "pad-help",
    }); // prettier-ignore
    this.#cursor = h("span", { class: "pad-cursor", "aria-hidden": "true" });
    this.#hint = h("p", { class: "pad-hint", "aria-hidden": "true" }, "Write a digit here");
    this.element = h(
      "div",
      { class: "pad" },
      this.#hint,
      this.#canvas,
      this.#cursor,
      h("p", { id: "pad-help", class: "unseen" }, HELP),
    );
    this.#listen();
    this.#draw();
  }

  /** The picture on the pad; `null` when there is none. */
  get picture(): Picture | null {
    if (this.#photo !== null) return this.#photo;
    if (this.#strokes.length === 0) return null;
    const context = bitmap(GIVEN);
    context.scale(GIVEN / SIDE, GIVEN / SIDE);
    paint(context, this.#strokes, "#000");
    const pixels = context.getImageData(0, 0, GIVEN, GIVEN).data;
    const gray = new Uint8Array(GIVEN * GIVEN).map((_, at) => pixels[4 * at + 3] ?? 0); // what is painted is ink
    const drawn = { width: GIVEN, height: GIVEN, gray };
    return blank(drawn) ? null : drawn;
  }

  /** Lay a photograph's ink on the pad. */
  put(photo: Picture): void {
    this.#strokes = [];
    this.#photo = photo;
    this.#changed();
  }

  clear(): void {
    this.#strokes = [];
    this.#photo = null;
    this.#down = false;
    this.#changed();
  }

  /** Take the last stroke back. */
  undo(): void {
    if (this.#photo !== null) this.#photo = null;
    else this.#strokes.pop();
    this.#changed();
  }

  /** Draw anew, in the colours of now. */
  refresh(): void {
    this.#draw();
  }

  #listen(): void {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (this.#drawing !== null || event.button !== 0) return;
      this.#drawing = event.pointerId;
      canvas.setPointerCapture(event.pointerId);
      this.#begin(this.#at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.#drawing) return;
      for (const part of event.getCoalescedEvents()) this.#extend(this.#at(part));
      this.#extend(this.#at(event));
    });
    const lift = (event: PointerEvent): void => {
      if (event.pointerId !== this.#drawing) return;
      this.#drawing = null;
      this.#settle();
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.#key(event.key)) return;
      event.preventDefault();
    });
    canvas.addEventListener("focus", () => {
      this.#place();
    });
    canvas.addEventListener("blur", () => {
      this.#down = false;
      this.#place();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#draw();
    });
  }

  /** Whether the key means something here. */
  #key(key: string): boolean {
    const move = MOVES[key];
    if (move !== undefined) this.#step(move);
    else if (key === " " || key === "Enter") this.#toggle();
    else if (key === "Backspace" || key === "Delete") this.undo();
    else if (/^[0-9]$/.test(key)) this.#events.labelled(Number(key));
    else return false;
    return true;
  }

  #toggle(): void {
    this.#down = !this.#down;
    if (this.#down) this.#begin(this.#pen);
    this.#events.said(this.#down ? "Pen down" : "Pen up");
    this.#place();
  }

  #step(move: Point): void {
    const inside = (value: number): number => Math.min(SIDE - PEN, Math.max(PEN, value));
    this.#pen = { x: inside(this.#pen.x + move.x * STEP), y: inside(this.#pen.y + move.y * STEP) };
    if (this.#down) this.#extend(this.#pen);
    this.#place();
  }

  #at(event: PointerEvent): Point {
    const box = this.#canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) * SIDE) / box.width, y: ((event.clientY - box.top) * SIDE) / box.height };
  }

  #begin(at: Point): void {
    this.#photo = null;
    this.#strokes.push([at]);
    this.#changed();
  }

  #extend(to: Point): void {
    this.#strokes.at(-1)?.push(to);
    this.#draw();
    this.#timer ??= setTimeout(() => {
      this.#settle();
    }, WAIT_MS);
  }

  /** Tell of what was drawn since it was last told. */
  #settle(): void {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#events.changed();
  }

  #changed(): void {
    this.#draw();
    this.#place();
    this.#events.changed();
  }

  #place(): void {
    this.#cursor.classList.toggle("down", this.#down);
    this.#cursor.style.setProperty("--x", String(this.#pen.x / SIDE));
    this.#cursor.style.setProperty("--y", String(this.#pen.y / SIDE));
  }

  #draw(): void {
    const context = this.#canvas.getContext("2d");
    if (context === null) return;
    const colour = getComputedStyle(this.#canvas).color;
    this.#hint.classList.toggle("gone", this.#photo !== null || this.#strokes.length > 0);
    context.clearRect(0, 0, SIDE, SIDE);
    if (this.#photo === null) paint(context, this.#strokes, colour);
    else context.drawImage(inked(this.#photo, colour), 0, 0, SIDE, SIDE);
  }
}

const MOVES: Readonly<Record<string, Point>> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

function paint(context: CanvasRenderingContext2D, strokes: readonly (readonly Point[])[], colour: string): void {
  context.strokeStyle = colour;
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach(({ x, y }, at) => {
      if (at === 0) context.moveTo(x, y);
      context.lineTo(x, y); // to itself: a dot
    });
    context.stroke();
  }
}

/** A picture's ink in a colour, on nothing. */
export function inked(picture: Picture, colour: string): HTMLCanvasElement {
  const canvas = h("canvas", { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d");
  if (context === null) return canvas;
  const image = context.createImageData(picture.width, picture.height);
  picture.gray.forEach((ink, at) => {
    image.data[4 * at + 3] = ink;
  });
  context.putImageData(image, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, picture.width, picture.height);
  return canvas;
}

function bitmap(side: number): CanvasRenderingContext2D {
  const context = h("canvas", { width: side, height: side }).getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("this browser does not draw");
  return context;
}
