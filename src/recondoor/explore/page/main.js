// Which views the folder has, and which one is open.
import { fetched, make } from "./common.js";
import { Bench } from "./bench.js";
import { Curves } from "./curves.js";
import { SweepMap } from "./map.js";
import { Audit } from "./audit.js";

const main = document.getElementById("main");
const views = document.getElementById("views");
let opened = 0;

/** Show a view; `place` is a sweep's point. Of two that are opened, the later one stays. */
async function open(name, place = "") {
  const turn = ++opened;
  for (const button of views.children) {
    if (button.dataset.view === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  main.replaceChildren(make("p", { id: "waiting" }, "Reading …"));
  let element;
  try {
    element = await VIEWS[name].make(place);
  } catch (error) {
    element = make("p", { class: "error", role: "alert" }, error.message);
  }
  if (turn !== opened) return;
  main.replaceChildren(element);
  main.dataset.view = name;
}

const VIEWS = {
  bench: { title: "Lab bench", make: (place) => Bench.opened(place) },
  curves: { title: "Learning curves", make: (place) => Curves.opened(place) },
  map: { title: "Map", make: () => SweepMap.opened(visit) },
  audit: { title: "Audit", make: () => Audit.opened() },
};

/** From a sweep's map to the bench of one of its runs. */
function visit(place) {
  for (const name of ["bench", "curves"]) {
    views.querySelector(`[data-view=${name}]`)?.remove();
    views.append(tab(name, place));
  }
  open("bench", place);
  main.focus();
}

function tab(name, place = "") {
  return make("button", { type: "button", "data-view": name, onclick: () => open(name, place) },
    VIEWS[name].title);
}

async function start() {
  const folder = await fetched("folder");
  document.getElementById("name").textContent = folder.name;
  document.getElementById("kind").textContent = `explores the ${folder.kind}`;
  document.title = `${folder.name} – recondoor explore`;
  const names = { run: ["bench", "curves"], sweep: ["map"], audit: ["audit"] }[folder.kind];
  views.append(...names.map((name) => tab(name)));
  await open(names[0]);
}

start().catch((error) => main.replaceChildren(make("p", { class: "error", role: "alert" }, error.message)));
