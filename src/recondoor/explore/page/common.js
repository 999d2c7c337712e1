// What the views share. Whatever comes from the folder is put in as text, never as markup.

/** An element with attributes, listeners (onclick ...) and children; texts stay texts. */
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return element;
}

/** What the server answers to a question by name; throws an Error with its one line. */
export async function fetched(name, query = {}) {
  const parameters = new URLSearchParams(query);
  return told(await fetch(`api/${name}?${parameters}`));
}

/** The same of a question with a body. */
export async function asked(name, query, body) {
  const parameters = new URLSearchParams(query);
  const headers = { "content-type": "application/json" };
  return told(await fetch(`api/${name}?${parameters}`, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function told(response) {
  if (response.ok) return response.json();
  const text = await response.text();
  let said = text || `the server answered ${response.status}`;
  try { said = JSON.parse(text).error ?? said; } catch { /* a plain line */ }
  throw new Error(said);
}

let saying;
/** Tell a screen reader, once things have settled. */
export function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { document.getElementById("status").textContent = text; }, 500);
}

/** A number with so many significant digits, or a dash. */
export function shown(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  const text = size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toExponential(digits - 1)
    : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}

/** A number with three decimals, as tables line up. */
export function fixed(value, decimals = 3) {
  if (value === null || value === undefined) return "–";
  return value.toFixed(decimals).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

/** Round numbers between two ends, a few of them. */
export function ticks(low, high, most = 5) {
  const raw = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, i) => (first + i) * step);
}

// Cividis, which colour-blind readers and greyscale printers see alike.
const CIVIDIS = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115],
  [138, 134, 120], [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56]];
// Okabe and Ito.
export const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
export const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "12 4"];

/** Colour [r, g, b] of a share from 0 to 1. */
export function cividis(share) {
  const at = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(at), CIVIDIS.length - 2);
  return CIVIDIS[low].map((value, i) => Math.round(value + (at - low) * (CIVIDIS[low + 1][i] - value)));
}

function valuesOf(picture) {
  const bytes = Uint8Array.from(atob(picture.data), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

/** A figure of a picture as the server sends it, which can be shown another one. */
export class Figure {
  constructor(picture) {
    this.canvas = make("canvas", { role: "img" });
    this.title = make("span");
    this.range = make("small");
    this.frame = make("div", { class: "frame" }, this.canvas);
    this.element = make("figure", {}, this.frame, make("figcaption", {}, this.title, this.range));
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.tellRange());
    this.show(picture);
  }

  show(picture) {
    this.picture = picture;
    this.values = valuesOf(picture);
    const [channels, height, width] = picture.shape;
    Object.assign(this.canvas, { width, height });
    this.canvas.style.aspectRatio = picture.stretched ? "1" : `${width} / ${height}`;
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const span = picture.high - picture.low;
    for (let i = 0; i < width * height; i++) {
      const share = (c) => (this.values[c * width * height + i] - picture.low) / span;
      const rgb = channels === 3 ? [0, 1, 2].map((c) => 255 * share(c))
        : picture.signed ? cividis(share(0)) : Array(3).fill(255 * share(0));
      image.data.set([...rgb, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
    this.title.textContent = picture.title;
    this.tellRange();
    this.canvas.setAttribute("aria-label", `${picture.title}, ${height} by ${width} pixels`);
  }

  tellRange() {
    this.range.textContent = `scale ${shown(this.picture.low)} to ${shown(this.picture.high)}`;
  }

  point(event) {
    const [, height, width] = this.picture.shape;
    const area = this.canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - area.top) / area.height * height);
    const column = Math.floor((event.clientX - area.left) / area.width * width);
    const value = this.values[row * width + column];
    if (value !== undefined) this.range.textContent = `row ${row}, column ${column}: ${shown(value)}`;
  }
}

let fields = 0;
/** A labelled control; an output in the label is not what it names. */
export function field(label, control, ...more) {
  control.id = `field-${++fields}`;
  return make("label", { class: "field", for: control.id }, make("span", {}, label, ...more), control);
}

/** A select of [value, words]. */
export function choice(options, chosen, onchange) {
  const select = make("select", { onchange: () => onchange(select.value) },
    options.map(([value, words]) => make("option", { value, selected: value === chosen }, words)));
  return select;
}

/** A table that scrolls sideways in its own frame. */
export function table(caption, head, rows) {
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, head)),
      make("tbody", {}, rows)));
}

/** Offer a text as a file. */
export function offer(name, kind, text) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  const link = make("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
