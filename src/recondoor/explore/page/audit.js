// An audit: what is suspicious, ranked; step through it, mark false alarms, take the list away.
import { fetched, Figure, make, offer, say, shown, table } from "./common.js";

const PAGE = 100;

export class Audit {
  static async opened() {
    return new Audit(await fetched("audit")).element;
  }

  constructor(told) {
    this.told = told;
    this.what = told.kind === "input" ? "input" : "pair";
    this.marks = new Set();
    this.first = 0;
    this.all = !told.ranked.some((each) => each.flagged.length);
    this.at = 0;
    this.list = make("ol", { class: "ranked", "aria-label": "Ranked, the most suspicious first", onkeydown: (event) => this.key(event) });
    this.pages = make("div", { class: "row" });
    this.detail = make("section", { "aria-live": "off", "aria-labelledby": "h-detail" });
    this.marked = make("p", { class: "note" });
    const verdict = make("p", { class: `verdict ${told.verdict}` }, told.headline);
    this.element = make("div", {}, verdict,
      make("p", {}, told.sight.join(" "), told.truth === null ? "" : ` ${told.truth}`),
      told.kind === "model" ? null : this.bench(), this.patterns(), detectors(told),
      told.skipped.length ? make("p", { class: "note" }, "Not looked: ", told.skipped.map((each) => `${each.name} (${each.reason})`).join("; ")) : null,
      told.notes.map((each) => make("p", { class: "note" }, each)));
    if (told.kind !== "model") this.update();
  }

  bench() {
    const only = make("input", { type: "checkbox", checked: !this.all, onchange: () => { this.all = !only.checked; this.first = 0; this.at = 0; this.update(); } });
    const button = (words, onclick) => make("button", { type: "button", onclick }, words);
    return make("div", { class: "audit" },
      make("section", { "aria-labelledby": "h-ranked" }, make("h2", { id: "h-ranked" }, `Suspicious ${this.what}s`),
        make("label", { class: "check" }, only, make("span", {}, "flagged ones only")),
        this.pages, this.list,
        make("p", { class: "note" }, "In the list: arrow keys step, F marks a false alarm, Home and End go to the ends.")),
      make("div", {}, this.detail, this.marked,
        make("div", { class: "row" }, button("Export CSV", () => offer("suspicious-reviewed.csv", "text/csv", this.csv())),
          button("Export JSON", () => offer("suspicious-reviewed.json", "application/json", this.json())))));
  }

  rows() {
    return this.all ? this.told.ranked : this.told.ranked.filter((each) => each.flagged.length);
  }

  update() {
    const rows = this.rows();
    const part = rows.slice(this.first, this.first + PAGE);
    this.list.replaceChildren(...part.map((each, i) => make("li", {}, make("button", { type: "button", "data-index": each.index,
      tabindex: this.first + i === this.at ? 0 : -1, "aria-current": this.first + i === this.at ? "true" : null,
      class: this.marks.has(each.index) ? "marked" : null, onclick: () => this.go(this.first + i) },
      make("span", {}, `${each.rank}. ${this.what} ${each.index}`), this.tag(each)))));
    const turn = (by, words) => make("button", { type: "button", disabled: this.first + by < 0 || this.first + by >= rows.length,
      onclick: () => { this.first += by; this.at = this.first; this.update(); } }, words);
    this.pages.replaceChildren(make("span", { class: "note" }, rows.length
      ? `${this.first + 1} to ${this.first + part.length} of ${rows.length}` : `no ${this.what} is flagged`),
      ...(rows.length > PAGE ? [turn(-PAGE, "Earlier"), turn(PAGE, "Later")] : []));
    const count = this.marks.size;
    this.marked.textContent = `${count} marked as false alarm${count === 1 ? "" : "s"}. Marks live as long as this page: export them.`;
    this.show(rows[this.at]);
  }

  tag(each) {
    if (this.marks.has(each.index)) return make("span", { class: "quiet" }, "false alarm");
    const truth = each.truth === null ? "" : each.truth ? `, ${this.what === "pair" ? "poisoned" : "triggered"}` : ", clean";
    return make("span", { class: each.flagged.length ? "flag" : "note" }, `${each.flagged.length} flag${each.flagged.length === 1 ? "" : "s"}${truth}`);
  }

  key(event) {
    const last = this.rows().length - 1;
    const to = { ArrowDown: this.at + 1, ArrowUp: this.at - 1, Home: 0, End: last, PageDown: this.at + 10, PageUp: this.at - 10 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.go(Math.min(Math.max(to, 0), last));
    } else if (event.key.toLowerCase() === "f" && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.mark(this.rows()[this.at]);
      this.focus();
    }
  }

  go(at) {
    this.at = at;
    this.first = Math.floor(at / PAGE) * PAGE;
    this.update();
    this.focus();
  }

  focus() {
    this.list.querySelector("[aria-current]")?.focus();
  }

  mark(each) {
    if (!this.marks.delete(each.index)) this.marks.add(each.index);
    this.update();
    say(`${this.what} ${each.index} ${this.marks.has(each.index) ? "marked as a false alarm" : "no longer marked"}`);
  }

  show(each) {
    if (!each) {
      this.detail.replaceChildren(make("h2", { id: "h-detail" }, "Nothing to show"));
      return;
    }
    const marked = this.marks.has(each.index);
    const button = make("button", { type: "button", "aria-pressed": String(marked), onclick: () => { this.mark(each); this.detail.querySelector("button").focus(); } },
      "False alarm");
    const reasons = each.reason ? each.reason.split("; ") : ["no detector flags it"];
    this.detail.replaceChildren(
      make("h2", { id: "h-detail" }, `${this.what[0].toUpperCase()}${this.what.slice(1)} ${each.index}, rank ${each.rank}`),
      make("ul", { "data-reason": each.index }, reasons.map((reason) => make("li", {}, reason))),
      make("p", {}, button),
      each.pictures.length ? make("div", { class: "pictures" }, each.pictures.map((picture) => new Figure(picture).element))
        : make("p", { class: "note" }, "The audit kept no picture of this one; it keeps those of the most suspicious."),
      make("h3", {}, "Scores"),
      make("dl", {}, Object.entries(each.scores).flatMap(([name, score]) => [make("dt", {}, name),
        make("dd", { "data-exact": score }, shown(score), each.flagged.includes(name) ? make("span", { class: "flag" }, " flagged") : "")])));
  }

  patterns() {
    if (!this.told.patterns.length) return null;
    return make("section", {}, make("h2", {}, this.told.kind === "model" ? "Recovered patterns" : "What suspicious ones share"),
      make("div", { class: "pictures" }, this.told.patterns.map((each) => new Figure(each).element)),
      make("p", { class: "note" }, "Lighter is positive; each has its own scale."));
  }

  reviewed() {
    return this.told.ranked.filter((each) => each.flagged.length || this.marks.has(each.index)).map((each) => ({ index: each.index,
      rank: each.rank, false_alarm: this.marks.has(each.index), flagged_by: each.flagged, reason: each.reason, scores: each.scores }));
  }

  json() {
    return JSON.stringify({ audit: this.told.name, kind: this.told.kind, verdict: this.told.verdict, reviewed: this.reviewed() }, null, 1);
  }

  csv() {
    // A spreadsheet must not take a text for a formula.
    const cell = (value) => `"${String(value).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
    const lines = this.reviewed().map((each) => [each.index, each.rank, each.false_alarm ? 1 : 0, cell(each.flagged_by.join(" ")), cell(each.reason)].join(","));
    return ["index,rank,false_alarm,flagged_by,reason", ...lines, ""].join("\n");
  }
}

function detectors(told) {
  if (!told.detectors.length) return null;
  const keys = Object.keys(told.detectors[0]);
  return table("Detectors", keys.map((key) => make("th", { scope: "col" }, key.replaceAll("_", " "))),
    told.detectors.map((each) => make("tr", {}, keys.map((key) => make("td", {}, each[key])))));
}
