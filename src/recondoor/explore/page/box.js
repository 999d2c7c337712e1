// The box around a trigger: dragged by a pointer, moved by arrow keys.
import { make } from "./common.js";

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class Box {
  /** `moved` is called with the row and the column that are wished for. */
  constructor(moved) {
    this.moved = moved;
    this.element = make("button", { type: "button", class: "box", "aria-roledescription": "movable trigger",
      onkeydown: (event) => this.key(event), onpointerdown: (event) => this.grab(event),
      onpointermove: (event) => this.drag(event), onpointerup: () => { this.grip = null; },
      onpointercancel: () => { this.grip = null; } });
  }

  /** Lie in `frame` around [row, column, height, width] of a picture of [rows, columns] pixels. */
  put(frame, place, shape, cut) {
    if (!frame) {
      this.element.remove();
      return;
    }
    if (this.element.parentElement !== frame) frame.append(this.element);
    Object.assign(this, { place, shape, cut });
    const [row, column, height, width] = place;
    const share = (value, whole) => `${100 * value / whole}%`;
    Object.assign(this.element.style, { top: share(row, shape[0]), left: share(column, shape[1]),
      height: share(height, shape[0]), width: share(width, shape[1]) });
    this.element.setAttribute("aria-label",
      `Trigger at row ${row + cut[0]}, column ${column + cut[1]}; arrow keys move it`);
  }

  key(event) {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    const far = event.shiftKey ? 5 : 1;
    this.wish(this.place[0] + far * step[0], this.place[1] + far * step[1]);
  }

  grab(event) {
    event.preventDefault();
    this.element.focus();
    this.element.setPointerCapture(event.pointerId);
    this.grip = { x: event.clientX, y: event.clientY, place: this.place };
  }

  drag(event) {
    if (!this.grip) return;
    const area = this.element.parentElement.getBoundingClientRect();
    const down = (event.clientY - this.grip.y) / area.height * this.shape[0];
    const right = (event.clientX - this.grip.x) / area.width * this.shape[1];
    this.wish(Math.round(this.grip.place[0] + down), Math.round(this.grip.place[1] + right));
  }

  wish(row, column) {
    if (row !== this.place[0] || column !== this.place[1]) this.moved(row + this.cut[0], column + this.cut[1]);
  }
}
