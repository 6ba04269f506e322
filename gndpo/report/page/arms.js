// Which arms are shown: those that pass the filters and are switched on in the bar.

const MOST_ON = 8; // lines that can be told apart at once
const filters = { text: "", values: new Map() }; // configuration key: the values that pass
const on = new Set(ARMS.map((_, place) => place).slice(0, MOST_ON));
let configs = null;

/** A run passes when its names hold the text and every filtered key has one of its values. */
function passes(arm, run) {
  const { name, seed, status, overrides } = RUNS[run];
  const text = [arm.name, name, status, `seed=${seed}`, ...overrides].join(" ").toLowerCase();
  const words = filters.text.toLowerCase().split(/\s+/);
  return (
    words.every((word) => text.includes(word)) &&
    [...filters.values].every(([key, values]) => values.has(valueOf(key, run)))
  );
}

/** What a run's configuration says about a key. */
function valueOf(key, run) {
  const place = configs.keys.indexOf(key);
  const codes = configs.codes[place];
  return configs.values[place][codes.length ? codes[run] : 0];
}

const passing = (arm) => arm.runs.filter((run) => passes(arm, run));

/** Places of the arms that the filters let through. */
const filtered = () => [...ARMS.keys()].filter((place) => passing(ARMS[place]).length > 0);

/** Those of them whose curves are drawn. */
const drawn = () => filtered().filter((place) => on.has(place));

function renderArms() {
  const places = filtered();
  const switchAll = (places) => () => {
    on.clear();
    for (const place of places) on.add(place);
    changed();
  };
  byId("arms").replaceChildren(
    ...places.map(armChip),
    el("button", { type: "button", onclick: switchAll(ARMS.keys()) }, "all"),
    el("button", { type: "button", onclick: switchAll([]) }, "none"),
    el("span", { class: "count" }, `${drawn().length} of ${ARMS.length} arms drawn`),
  );
}

function armChip(place) {
  const arm = ARMS[place];
  const flip = () => {
    if (!on.delete(place)) on.add(place);
    changed();
  };
  const attributes = { type: "button", class: "chip", "aria-pressed": String(on.has(place)) };
  return el("button", { ...attributes, onclick: flip }, swatch(arm), arm.name);
}

/** A short line as the arm's curves are drawn. */
function swatch(arm) {
  const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  line.setAttribute("class", "line");
  line.setAttribute("viewBox", "0 0 22 4");
  const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
  stroke.setAttribute("d", "M0 2H22");
  stroke.setAttribute("stroke", armColour(arm));
  stroke.setAttribute("stroke-width", "4");
  const dashes = arm.dash === "solid" ? "" : arm.dash.replaceAll("px", "");
  stroke.setAttribute("stroke-dasharray", dashes);
  line.append(stroke);
  return line;
}

/** What is shown has changed: everything that depends on it is drawn again. */
function changed() {
  renderArms();
  renderTable();
  outdated();
}
