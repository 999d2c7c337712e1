// A sweep: its points as a chart over chosen axes and as a table, linked to their runs.
import { choice, cividis, draw, fetched, field, make, say, shown, ticks } from "./common.js";
import { Curves } from "./curves.js";

const WIDTH = 520, HEIGHT = 340, LEFT = 62, RIGHT = 96, TOP = 14, BOTTOM = 44;
const ROWS = 100;

export class SweepMap {
  static async opened(visit) {
    return new SweepMap(await fetched("sweep"), visit).element;
  }

  constructor(told, visit) {
    this.told = told;
    this.visit = visit;
    this.curves = {};
    const models = Object.keys(told.models).sort();
    this.columns = [
      ...told.axes.map((axis, i) => ({ key: `axis ${i}`, name: axis.name, numeric: axis.numeric, of: (row) => row.axes[i] })),
      { key: "seed", name: "seed", numeric: true, of: (row) => row.seed },
      ...told.yardsticks.map((each, i) => ({ key: each.key, name: each.name, numeric: true, measured: true, of: (row) => row.values[i] }))];
    const axes = this.columns.filter((each) => !each.measured);
    this.wish = { x: axes[0].key, y: (axes.find((each) => each.key !== axes[0].key && each.key !== "seed") ?? this.column("artefact_recovery")).key,
      value: "artefact_recovery", model: models.find((each) => each !== "original") ?? models[0],
      words: "", filters: {}, sort: null, down: false, cell: null, most: ROWS };
    this.controls = make("div", { class: "row" });
    this.chart = make("div");
    this.list = make("div");
    this.side = make("section", { "aria-labelledby": "h-side" });
    const states = Object.entries(told.states).map(([state, n]) => `${n} ${state}`).join(", ");
    this.element = make("div", {}, make("p", { class: "verdict" }, told.verdict),
      make("p", { class: "note" }, `Points with their seeds: ${states}. ${told.kept
        ? "Open one to try its networks on the lab bench." : "The runs were not kept with this sweep, so there is no lab bench and there are no curves."}`),
      this.controls, make("div", { class: "map" }, this.chart, this.side), this.list);
    this.side.append(make("h2", { id: "h-side" }, "Learning curves"),
      make("p", { class: "note" }, told.kept ? "Point at a line of the table, or focus its button." : "None: the runs were not kept."));
    this.build(models, axes);
    this.update();
    const first = this.rows().find((row) => row.run !== null);
    if (first) this.preview(first);
  }

  column(key) {
    return this.columns.find((each) => each.key === key);
  }

  build(models, axes) {
    const { wish } = this;
    const pick = (key) => (value) => { wish[key] = value; wish.cell = null; this.update(); };
    const options = this.columns.map((each) => [each.key, each.name]);
    const level = (column) => {
      const levels = [...new Set(this.told.rows.map((row) => JSON.stringify(column.of(row))))]
        .map((text) => JSON.parse(text)).sort((a, b) => a === null ? 1 : typeof a === "number" ? a - b : String(a).localeCompare(b));
      if (levels.length < 2 || levels.length > 60) return null;
      return field(`Only ${column.name}`, choice([["", "all"], ...levels.map((each) => [JSON.stringify(each), shown(each, 4)])], "",
        (value) => { wish.filters[column.key] = value; wish.cell = null; this.update(); }));
    };
    this.controls.append(
      field("Across", choice(options, wish.x, pick("x"))), field("Up", choice(options, wish.y, pick("y"))),
      field("Colour", choice(this.columns.filter((each) => each.measured).map((each) => [each.key, each.name]), wish.value, pick("value"))),
      field("Network", choice([["", "all"], ...models.map((each) => [each, this.told.models[each]])], wish.model, pick("model"))),
      ...axes.map(level).filter(Boolean), field("Name holds", make("input", { type: "search", oninput: (event) => {
        wish.words = event.target.value.toLowerCase(); this.update(); } })));
  }

  /** Rows that pass the filters; `cell` is a place of the chart that was chosen. */
  rows(cell = this.wish.cell) {
    const { wish } = this;
    const x = this.column(wish.x), y = this.column(wish.y);
    return this.told.rows.filter((row) => (!wish.model || row.model === wish.model)
      && (!wish.words || row.point.toLowerCase().includes(wish.words))
      && Object.entries(wish.filters).every(([key, text]) => !text || JSON.stringify(this.column(key).of(row)) === text)
      && (!cell || (x.of(row) === cell[0] && y.of(row) === cell[1])));
  }

  update() {
    const focused = this.chart.contains(document.activeElement) ? document.activeElement.dataset?.place : null;
    this.chart.replaceChildren(...this.drawn());
    if (focused) this.chart.querySelector(`[data-place='${CSS.escape(focused)}']`)?.focus();
    this.tabulate();
  }

  /** The chart: rows of one place together, coloured by their mean. */
  drawn() {
    const x = this.column(this.wish.x), y = this.column(this.wish.y), value = this.column(this.wish.value);
    const places = new Map();
    for (const row of this.rows(null)) {
      const at = [x.of(row), y.of(row)], number = value.of(row);
      if (at.includes(null) || number === null) continue;
      const key = JSON.stringify(at);
      if (!places.has(key)) places.set(key, { at, values: [], key });
      places.get(key).values.push(number);
    }
    const cells = [...places.values()].map((each) => ({ ...each, mean: each.values.reduce((a, b) => a + b) / each.values.length }));
    const heading = make("h2", {}, `${value.name} over ${x.name} and ${y.name}`);
    if (!cells.length) return [heading, make("p", { class: "note" }, "No network of these has both.")];
    const shared = { artefact_recovery: [0, 1], asr: [0, 100] }[value.key] ?? [];
    const low = Math.min(...cells.map((each) => each.mean), ...shared), high = Math.max(...cells.map((each) => each.mean), ...shared);
    const share = (mean) => high > low ? (mean - low) / (high - low) : 0.5;
    const across = scale(x, cells.map((each) => each.at[0]), LEFT, WIDTH - RIGHT);
    const up = scale(y, cells.map((each) => each.at[1]), HEIGHT - BOTTOM, TOP);
    const grid = !x.measured && !y.measured;
    const marks = cells.map((each) => this.mark(each, across, up, share(each.mean), grid, [x, y, value]));
    const svg = draw("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": heading.textContent },
      draw("path", { class: "axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }),
      across.ticks.map(([text, at]) => draw("text", { x: at, y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, text)),
      up.ticks.map(([text, at]) => draw("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, text)),
      draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle", class: "faint" }, x.name),
      draw("text", { x: 12, y: (TOP + HEIGHT - BOTTOM) / 2, "text-anchor": "middle", class: "faint",
        transform: `rotate(-90 12 ${(TOP + HEIGHT - BOTTOM) / 2})` }, y.name),
      marks, bar(low, high));
    return [heading, svg, make("p", { class: "note" }, this.wish.cell
      ? ["The table shows the chosen place alone. ", make("button", { type: "button", onclick: () => { this.wish.cell = null; this.update(); } }, "Show all")]
      : "Each place is the mean of its networks. Choose one to see them in the table.")];
  }

  mark(each, across, up, share, grid, [x, y, value]) {
    const [left, top] = [across.at(each.at[0]), up.at(each.at[1])];
    const rgb = cividis(share);
    const words = `${x.name} ${shown(each.at[0])}, ${y.name} ${shown(each.at[1])}: ${value.name} ${shown(each.mean)}, ${each.values.length} network${each.values.length === 1 ? "" : "s"}`;
    const choose = () => { this.wish.cell = JSON.stringify(this.wish.cell) === each.key ? null : each.at; this.update(); };
    const own = { fill: `rgb(${rgb})`, role: "button", tabindex: 0, "aria-label": words, "data-place": each.key, "data-exact": each.mean,
      "aria-pressed": JSON.stringify(this.wish.cell) === each.key, onclick: choose,
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); } } };
    if (!grid) return draw("circle", { class: "dot", cx: left, cy: top, r: 6, ...own }, draw("title", {}, words));
    const [w, h] = [across.step, up.step];
    const dark = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] < 120;
    return [draw("rect", { class: "cell", x: left - w / 2, y: top - h / 2, width: w, height: h, ...own }, draw("title", {}, words)),
      w > 34 && h > 14 ? draw("text", { x: left, y: top + 4, "text-anchor": "middle", "pointer-events": "none",
        fill: dark ? "#fff" : "#111", class: dark ? "light" : "dark" }, shown(each.mean, 2)) : null];
  }

  tabulate() {
    const { wish } = this;
    const rows = this.rows();
    if (wish.sort) {
      const of = wish.sort === "point" ? (row) => row.point : wish.sort === "model" ? (row) => row.model : this.column(wish.sort).of;
      rows.sort((a, b) => {
        const [first, second] = [of(a), of(b)];
        if (first === null || second === null) return (first === null) - (second === null);
        const order = typeof first === "number" ? first - second : String(first).localeCompare(String(second));
        return wish.down ? -order : order;
      });
    }
    const sorter = (key, name, numeric) => make("th", { scope: "col", class: numeric ? "n" : null,
      "aria-sort": wish.sort === key ? (wish.down ? "descending" : "ascending") : null },
      make("button", { type: "button", "data-sort": key, onclick: () => {
        Object.assign(wish, { down: wish.sort === key && !wish.down, sort: key });
        this.tabulate();
        this.list.querySelector(`[data-sort="${CSS.escape(key)}"]`).focus();
      } }, name, wish.sort === key ? (wish.down ? " ▼" : " ▲") : ""));
    const head = [make("th", { scope: "col" }, "Run"), sorter("model", "network"), sorter("point", "point"), this.columns.map((each) => sorter(each.key, each.name, each.numeric))];
    const body = rows.slice(0, wish.most).map((row) => this.line(row));
    const words = `${rows.length} of ${this.told.rows.length} networks`;
    this.list.replaceChildren(
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": words },
        make("table", {}, make("caption", {}, words), make("thead", {}, make("tr", {}, head)), make("tbody", {}, body))),
      ...(rows.length > wish.most ? [make("button", { type: "button", onclick: () => { wish.most += 10 * ROWS; this.tabulate(); } },
        `Show more of ${rows.length}`)] : []));
    say(words);
  }

  line(row) {
    const open = row.run === null ? make("span", { class: "note" }, "not kept")
      : make("button", { type: "button", onclick: () => this.visit(row.run), onfocus: () => this.preview(row),
        "aria-label": `Open ${row.point}, seed ${row.seed} on the lab bench` }, "Open");
    return make("tr", { onpointerenter: () => this.preview(row) }, make("td", {}, open),
      make("td", {}, this.told.models[row.model]), make("th", { scope: "row" }, row.point),
      this.columns.map((each) => make("td", { class: each.numeric ? "n" : null }, shown(each.of(row)))));
  }

  /** Curves of a row's run, beside the chart. */
  async preview(row) {
    if (row.run === null || this.shown === row.run) return;
    this.shown = row.run;
    this.curves[row.run] ??= fetched("curves", { run: row.run });
    let inner;
    try {
      inner = new Curves(await this.curves[row.run], ["recovery", "ghost"]).element;
    } catch (error) {
      inner = make("p", { class: "error" }, error.message);
    }
    if (this.shown !== row.run) return;
    this.side.replaceChildren(make("h2", { id: "h-side" }, `Learning curves of ${row.point}, seed ${row.seed}`), inner);
  }
}

/** Where values of a column lie between two ends, with ticks; levels of axes stand side by side. */
function scale(column, values, from, to) {
  const levels = [...new Set(values)].sort((a, b) => typeof a === "number" ? a - b : String(a).localeCompare(b));
  if (!column.measured) {
    const step = Math.abs(to - from) / levels.length, sign = Math.sign(to - from);
    const at = (value) => from + sign * step * (levels.indexOf(value) + 0.5);
    const every = Math.ceil(levels.length / 10);
    return { at, step, ticks: levels.filter((_, i) => i % every === 0).map((value) => [cut(shown(value, 4)), at(value)]) };
  }
  const low = Math.min(...levels), high = Math.max(...levels), pad = (high - low || 1) * 0.06;
  const at = (value) => from + (value - low + pad) / (high - low + 2 * pad || 1) * (to - from);
  return { at, step: 12, ticks: ticks(low, high).map((value) => [shown(value), at(value)]) };
}

function cut(text) {
  return text.length > 14 ? `${text.slice(0, 13)}…` : text;
}

/** The scale of the colours. */
function bar(low, high) {
  const steps = 24, height = (HEIGHT - TOP - BOTTOM) / steps, left = WIDTH - RIGHT + 22;
  return [Array.from({ length: steps }, (_, i) => draw("rect", { x: left, y: TOP + i * height, width: 14, height: height + 0.5,
    fill: `rgb(${cividis(1 - i / (steps - 1))})` })),
  [high, (low + high) / 2, low].map((value, i) => draw("text", { x: left + 19, y: TOP + 8 + i * (HEIGHT - TOP - BOTTOM - 8) / 2 }, shown(value, 2)))];
}
