// Learning curves of a run, with the hedge line.
import { COLOURS, DASHES, draw, fetched, fixed, make, shown, table, ticks } from "./common.js";

const WIDTH = 340, HEIGHT = 210, LEFT = 42, RIGHT = 8, TOP = 12, BOTTOM = 34;

export class Curves {
  static async opened(place) {
    const told = await fetched("curves", { run: place });
    return make("div", {}, make("h2", {}, "Learning curves"), new Curves(told, told.yardsticks.map((each) => each.key)).element,
      results(told));
  }

  /** Charts of the yardsticks `keys`. */
  constructor(told, keys) {
    this.told = told;
    this.models = [...new Set(told.curves.map((each) => each.model))];
    const charts = told.yardsticks.filter((each) => keys.includes(each.key) && this.of(each.key).length);
    this.element = make("div", {}, this.legend(),
      charts.length ? make("div", { class: "charts" }, charts.map((each) => this.chart(each)))
        : make("p", { class: "note" }, "This run has no history of its training."));
  }

  of(key) {
    return this.told.curves.filter((each) => each.values[key]);
  }

  look(model) {
    const i = this.models.indexOf(model);
    return { stroke: COLOURS[i % COLOURS.length], "stroke-dasharray": DASHES[i % DASHES.length] || null };
  }

  legend() {
    const line = (attributes) => draw("svg", { viewBox: "0 0 30 10", "aria-hidden": "true", class: "chart" },
      draw("path", { d: "M1 5H29", ...attributes }));
    const title = (model) => this.told.curves.find((each) => each.model === model).title;
    return make("ul", { class: "legend" },
      this.models.map((model) => make("li", {}, line({ class: "curve", ...this.look(model) }), " ", title(model))),
      make("li", {}, line({ class: "hedge" }), " hedge line"));
  }

  chart(yardstick) {
    const curves = this.of(yardstick.key);
    const every = curves.flatMap((each) => each.values[yardstick.key]).filter((value) => value !== null);
    const samples = curves.flatMap((each) => each.samples);
    const most = Math.max(...samples, 1);
    const known = yardstick.hedge === null ? every : [...every, yardstick.hedge];
    const whole = yardstick.key === "recovery" ? 1 : 0;
    const low = Math.min(0, ...known), high = Math.max(whole, ...known, low + 1e-9) * 1.05;
    const x = (value) => LEFT + value / most * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    const path = (each) => each.samples.map((sample, i) => [sample, each.values[yardstick.key][i]])
      .filter((point) => point[1] !== null).map((point, i) => `${i ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`).join("");
    const reading = make("p", { class: "note" }, "\u00a0");
    const svg = draw("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      "aria-label": `${yardstick.name} over training images, ${curves.length} curves`,
      onpointermove: (event) => { reading.textContent = this.read(event, svg, yardstick, curves, most); },
      onpointerleave: () => { reading.textContent = "\u00a0"; } },
      ticks(low, high).map((value) => [draw("path", { class: "grid", d: `M${LEFT} ${y(value)}H${WIDTH - RIGHT}` }),
        draw("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, shown(value))]),
      ticks(0, most, 3).map((value) => draw("text", { x: x(value), y: HEIGHT - BOTTOM + 15,
        "text-anchor": value === 0 ? "start" : value > 0.9 * most ? "end" : "middle" }, value.toLocaleString("en"))),
      draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle", class: "faint" }, "training images"),
      yardstick.hedge === null ? null : draw("path", { class: "hedge", d: `M${LEFT} ${y(yardstick.hedge)}H${WIDTH - RIGHT}` }),
      curves.map((each) => draw("path", { class: "curve", d: path(each), ...this.look(each.model) })));
    return make("div", {}, make("h3", {}, yardstick.name), svg, reading);
  }

  read(event, svg, yardstick, curves, most) {
    const area = svg.getBoundingClientRect();
    const share = ((event.clientX - area.left) / area.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    const wanted = Math.min(Math.max(share, 0), 1) * most;
    return curves.map((each) => {
      const i = each.samples.reduce((best, sample, j) => Math.abs(sample - wanted) < Math.abs(each.samples[best] - wanted) ? j : best, 0);
      return `${each.title}, seed ${each.seed}: ${fixed(each.values[yardstick.key][i])} at ${each.samples[i].toLocaleString("en")}`;
    }).join("; ");
  }
}

function results(told) {
  if (!told.rows.length) return null;
  const head = [["Model", ""], ["Seed", "n"], ["Success", ""], ...told.columns.map((name) => [name, "n"])]
    .map(([words, kind]) => make("th", { scope: "col", class: kind || null }, words));
  const rows = told.rows.map((row) => make("tr", {}, make("th", { scope: "row" }, row.model), make("td", { class: "n" }, row.seed),
    make("td", {}, row.success === null ? "–" : row.success ? "yes" : "no"),
    row.values.map((value) => make("td", { class: "n" }, shown(value)))));
  return table("Results on the test set", head, rows);
}
