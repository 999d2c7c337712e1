// The lab bench: a trigger that is moved over an input, and what two networks make of it.
import { asked, choice, fetched, field, Figure, fixed, make, say, shown, table } from "./common.js";
import { Box } from "./box.js";

const TITLES = { own: "the run's own trigger", square: "square", plus: "plus", blob: "blob" };
// Where the trigger's box is drawn, by where it enters.
const HOSTS = { z: "z_triggered", input: "z_triggered", y: "z_triggered", x: "x", measurement: "y" };
const ORDER = ["x", "z", "z_triggered", "change", "artefact", "y", "y_change"];

export class Bench {
  static async opened(place) {
    const bench = new Bench(place, await fetched("bench", { run: place }));
    await bench.ask();
    return bench.element;
  }

  constructor(place, told) {
    this.place = place;
    this.told = told;
    const own = { ...told.touch.own };
    this.own = own;
    const models = told.seeds[0].models;
    this.question = {
      seed: told.seeds[0].seed,
      model: (models.find((each) => each.key !== "original") ?? models[0]).key,
      image: 0,
      touch: { pattern: "own", enters: own.enters, size: Math.max(own.height, 1), row: own.row,
        column: own.column, strength: 1 },
      detectors: told.detectors.filter((each) => each.on).map((each) => each.key),
    };
    this.figures = {};
    this.inputs = make("div", { class: "pictures" });
    this.models = make("div", { class: "models" });
    this.numbers = make("div");
    this.opinions = make("div");
    this.state = make("p", { class: "note", id: "state" });
    this.box = new Box((row, column) => this.moved(row, column));
    this.controls = make("form", { "aria-label": "What is tried", onsubmit: (event) => event.preventDefault() });
    this.defences = make("form", { class: "defences", "aria-label": "Defences", onsubmit: (event) => event.preventDefault() });
    this.element = make("div", { class: "bench" }, this.controls,
      make("div", { class: "results" }, this.state,
        make("section", { "aria-labelledby": "h-input" }, make("h2", { id: "h-input" }, "Input"), this.inputs),
        make("section", { "aria-labelledby": "h-models" }, make("h2", { id: "h-models" }, "Networks"), this.models),
        this.numbers, this.opinions), this.defences);
    this.build();
  }

  /** The controls, anew where what can be chosen has changed. */
  build() {
    const { told, question } = this;
    const touch = question.touch;
    const seed = told.seeds.find((each) => each.seed === question.seed);
    const set = (target, key) => (value) => { target[key] = value; this.build(); this.ask(); };
    const image = this.count("Test image", question.image, told.images - 1,
      (value) => { question.image = value; this.ask(); });
    const step = (by, words, sign) => make("button", { type: "button", "aria-label": words,
      onclick: () => set(question, "image")(Math.min(Math.max(question.image + by, 0), told.images - 1)) }, sign);
    const [rows, columns] = this.room();
    const own = touch.pattern === "own";
    this.row = this.count("Row", touch.row, rows, (value) => this.moved(value, touch.column));
    this.column = this.count("Column", touch.column, columns, (value) => this.moved(touch.row, value));
    this.controls.replaceChildren(
      make("fieldset", {}, make("legend", {}, "Image and network"),
        make("div", { class: "steps" }, step(-1, "previous image", "◀"), image, step(1, "next image", "▶")),
        field("Network beside the original", choice(seed.models.map((each) => [each.key, each.title]),
          question.model, (value) => this.changed("model", value))),
        told.seeds.length > 1 ? field("Seed", choice(told.seeds.map((each) => [String(each.seed), String(each.seed)]),
          String(question.seed), (value) => this.changed("seed", Number(value)))) : null),
      make("fieldset", {}, make("legend", {}, "Trigger"),
        field("Pattern", choice(Object.entries(TITLES), touch.pattern, (value) => this.patterned(value))),
        field("It is added to", own
          ? choice([[told.touch.own.enters, this.words(told.touch.own.enters)]], told.touch.own.enters, () => {})
          : choice(told.touch.enters.map((each) => [each.key, each.words]), touch.enters, (value) => this.entered(value))),
        own ? null : this.slider("Size in pixels", touch.size, 1, Math.max(Math.min(...this.grid(), 64), 1),
          touch.pattern === "plus" ? 2 : 1, (value) => { touch.size = value; this.fit(); }),
        this.slider(own ? "Strength, times the run's" : "Strength, value of a pixel", touch.strength, 0,
          this.strongest(), 0.05, (value) => { touch.strength = value; this.ask(); }),
        make("div", { class: "pair" }, field("Row", this.row), field("Column", this.column)),
        make("p", { class: "note" }, "Drag the box in the picture, or move it with the arrow keys.")));
    this.buildDefences();
  }

  buildDefences() {
    const chosen = this.question.detectors;
    const line = (each) => make("label", { class: "check" },
      make("input", { type: "checkbox", value: each.key, checked: chosen.includes(each.key), disabled: each.lacking !== null,
        onchange: (event) => {
          this.question.detectors = event.target.checked ? [...chosen, each.key] : chosen.filter((key) => key !== each.key);
          this.buildDefences();
          this.defences.querySelector(`[value="${CSS.escape(each.key)}"]`).focus();
          this.ask();
        } }),
      make("span", {}, each.key, make("small", {}, each.lacking === null ? each.words : `does not apply: ${each.lacking}`,
        each.slow && each.lacking === null ? " Its first answer takes a while." : "")));
    this.defences.replaceChildren(make("fieldset", {}, make("legend", {}, "Defences"), this.told.detectors.map(line)));
  }

  title() {
    const seed = this.told.seeds.find((each) => each.seed === this.question.seed);
    return seed.models.find((each) => each.key === this.question.model).title;
  }

  words(key) {
    return this.told.touch.enters.find((each) => each.key === key)?.words ?? key;
  }

  count(words, value, most, onchange) {
    const input = make("input", { type: "number", min: 0, max: most, value, "aria-label": words,
      onchange: () => onchange(Math.min(Math.max(Math.round(Number(input.value) || 0), 0), Number(input.max))) });
    return input;
  }

  slider(words, value, min, max, step, oninput) {
    const output = make("span", { "aria-hidden": "true" }, shown(value));
    const input = make("input", { type: "range", min, max, step, value,
      oninput: () => { output.textContent = shown(Number(input.value)); oninput(Number(input.value)); } });
    return field(words, input, output);
  }

  /** Rows and columns of the picture that the trigger is put in. */
  grid() {
    const { touch } = this.told;
    const enters = this.question.touch.enters;
    return enters === "measurement" ? touch.measurement : enters === "z" ? touch.input : touch.image;
  }

  /** Height and width of the trigger. */
  sides() {
    const { touch } = this.question;
    return touch.pattern === "own" ? [this.own.height, this.own.width] : [touch.size, touch.size];
  }

  /** Largest row and column of the trigger's upper left pixel. */
  room() {
    const sides = this.sides();
    return this.grid().map((side, i) => Math.max(side - sides[i], 0));
  }

  strongest() {
    const { touch } = this.question;
    if (touch.pattern === "own") return 3;
    return touch.enters === "measurement" ? 60 : 10;
  }

  /** Another network, whose own trigger may lie elsewhere: the server says where. */
  changed(key, value) {
    const { question } = this;
    question[key] = value;
    const known = this.told.seeds.find((each) => each.seed === question.seed).models;
    if (!known.some((each) => each.key === question.model)) question.model = known[known.length - 1].key;
    if (question.touch.pattern === "own") Object.assign(question.touch, { row: null, column: null });
    this.ask();
  }

  patterned(pattern) {
    const { touch } = this.question;
    const own = this.own;
    if (pattern === "own") Object.assign(touch, { enters: own.enters, row: own.row, column: own.column, strength: 1 });
    else if (touch.pattern === "own") Object.assign(touch, { size: Math.min(own.height, Math.min(...this.grid())) || 1, strength: 1 });
    touch.pattern = pattern;
    if (pattern === "plus" && touch.size % 2 === 0) touch.size += 1;
    this.fit();
  }

  entered(enters) {
    const { touch } = this.question;
    touch.enters = enters;
    touch.strength = enters === "measurement" ? 20 : Math.min(touch.strength, 10);
    if (enters === "measurement") [touch.row, touch.column] = this.grid().map((side) => Math.floor(side / 2));
    this.fit();
  }

  /** Keep the trigger within its picture, and ask. */
  fit() {
    const { touch } = this.question;
    const [rows, columns] = this.room();
    touch.row = Math.min(touch.row, rows);
    touch.column = Math.min(touch.column, columns);
    // A slider that is being moved has to stay.
    if (document.activeElement?.type !== "range") this.build();
    for (const [field, most] of [[this.row, rows], [this.column, columns]]) field.max = most;
    this.row.value = touch.row;
    this.column.value = touch.column;
    this.ask();
  }

  moved(row, column) {
    const { touch } = this.question;
    const [rows, columns] = this.room();
    touch.row = Math.min(Math.max(row, 0), rows);
    touch.column = Math.min(Math.max(column, 0), columns);
    this.row.value = touch.row;
    this.column.value = touch.column;
    this.place_box();
    this.ask();
  }

  /** Ask for what is chosen now; while an answer is awaited, only the last wish counts. */
  async ask() {
    this.wanted = JSON.stringify(this.question);
    this.element.setAttribute("aria-busy", "true");
    if (this.asking) return;
    this.asking = true;
    while (this.wanted !== this.answered) {
      const wish = this.wanted;
      try {
        this.show(await asked("look", { run: this.place }, JSON.parse(wish)), JSON.parse(wish));
      } catch (error) {
        this.state.textContent = error.message;
        this.state.className = "error";
        say(error.message);
      }
      this.answered = wish;
    }
    this.asking = false;
    this.element.setAttribute("aria-busy", "false");
  }

  show(answer, question) {
    const { touch } = this.question;
    if (touch.row === null && question.touch.row === null) {
      const [row, column, height, width] = answer.place;
      Object.assign(this.own, { row, column, height, width });
      Object.assign(touch, { row, column });
      this.build();
    }
    for (const key of ORDER) {
      const picture = answer.pictures[key];
      if (!picture) {
        this.figures[key]?.element.remove();
        delete this.figures[key];
      } else if (this.figures[key]) this.figures[key].show(picture);
      else this.inputs.append((this.figures[key] = new Figure(picture)).element);
    }
    this.place_box();
    this.showModels(answer.models);
    this.showNumbers(answer.models);
    this.showOpinions(answer.opinions);
    const told = answer.models.map((each) => `${each.title}: recovery ${fixed(each.numbers.artefact_recovery, 2)}`).join("; ");
    this.state.className = "note";
    this.state.textContent = `${this.told.data}, ${this.told.operator}, p = ${shown(this.told.ratio)}; answered in ${shown(answer.milliseconds)} ms`;
    say(told);
  }

  place_box() {
    const { touch } = this.question;
    const sides = this.sides();
    const host = this.figures[HOSTS[touch.enters]];
    const [rows, columns] = host ? host.picture.shape.slice(1) : [1, 1];
    // What is cropped of the image is not in the picture of z.
    const cut = touch.enters === "measurement" || touch.enters === "z" ? [0, 0]
      : this.told.touch.image.map((side, i) => Math.floor((side - [rows, columns][i]) / 2));
    this.box.put(host?.frame, [touch.row - cut[0], touch.column - cut[1], ...sides], [rows, columns], cut);
  }

  showModels(models) {
    const keys = models.map((each) => each.key).join(" ");
    if (this.keys !== keys) {
      this.keys = keys;
      this.sheets = models.map((each) => {
        const figures = each.pictures.map((picture) => new Figure(picture));
        const recovery = make("b", { "data-recovery": each.key });
        return { figures, recovery, element: make("section", { class: "model" },
          make("h3", {}, each.title, make("span", { class: "recovery" }, "recovery ", recovery)),
          make("div", { class: "pictures" }, figures.map((figure) => figure.element))) };
      });
      this.models.replaceChildren(...this.sheets.map((sheet) => sheet.element));
    }
    models.forEach((each, i) => {
      this.sheets[i].recovery.textContent = fixed(each.numbers.artefact_recovery, 2);
      each.pictures.forEach((picture, j) => this.sheets[i].figures[j].show(picture));
    });
  }

  showNumbers(models) {
    const head = [make("th", { scope: "col" }, "Of this image"),
      models.map((each) => make("th", { scope: "col", class: "n" }, each.title)),
      make("th", { scope: "col", class: "n" }, "hedge line"), make("th", { scope: "col" }, "better")];
    const rows = this.told.yardsticks.map((each) => make("tr", {}, make("th", { scope: "row" }, each.name),
      models.map((model) => make("td", { class: "n", "data-number": `${model.key} ${each.key}`,
        "data-exact": model.numbers[each.key] }, fixed(model.numbers[each.key]))),
      make("td", { class: "n" }, each.key in this.told.hedge ? fixed(this.told.hedge[each.key]) : ""),
      make("td", {}, each.better)));
    this.numbers.replaceChildren(table("Yardsticks", head, rows),
      make("p", { class: "note" }, "The hedge line is a network that cannot tell poisoned from clean inputs: it draws p times the artefact always. " +
        "Its recovery is 0. One image says less than the test set."));
  }

  showOpinions(opinions) {
    if (!opinions.length) {
      this.opinions.replaceChildren();
      return;
    }
    const of = Object.fromEntries(this.told.detectors.map((each) => [each.key, each.of]));
    const verdict = (flags) => make("span", { class: flags ? "flag" : "quiet" }, flags ? "flagged" : "not flagged");
    const rows = opinions.map((each) => make("tr", { "data-detector": each.key },
      make("th", { scope: "row" }, each.key, make("br"), make("span", { class: "note" }, of[each.key])),
      each.lacking ? make("td", { colspan: 4 }, `does not apply: ${each.lacking}`)
        : each.unsure ? make("td", { colspan: 4 }, `cannot say: ${each.unsure}`) : [
        make("td", {}, shown(each.clean), make("br"), verdict(each.flags_clean)),
        make("td", { "data-exact": each.triggered }, shown(each.triggered), make("br"), verdict(each.flags_triggered)),
        make("td", { class: "n" }, shown(each.threshold)),
        make("td", { class: "words" }, each.reason ?? "", each.blind ? make("p", { class: "note" }, `It sees nothing here: ${each.blind}.`) : "",
          "recovery" in each ? make("p", {}, `Recovery after its repair: ${fixed(each.recovery, 2)}`) : "")]));
    const head = ["Defence", "Clean", "With trigger", "Flags above", "What it says"].map((words, i) =>
      make("th", { scope: "col", class: i === 3 ? "n" : null }, words));
    const repaired = opinions.filter((each) => each.repaired).map((each) => new Figure({ ...each.repaired,
      title: `${each.repaired.title} by ${each.key}` }).element);
    this.opinions.replaceChildren(table("What the defences say of this very input", head, rows),
      make("p", { class: "note" }, `What needs a network looks with ${this.title()}. A clean one is flagged with a probability of 1 % at most, by the operator's law or by trusted validation pairs of this run. "Not flagged" does not mean clean.`),
      make("div", { class: "pictures" }, repaired));
  }
}
