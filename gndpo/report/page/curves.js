// One panel per metric: bands over seeds, and the seeds themselves.

const DEFAULTS = ["validation/acc_1", "grad/norm", "teacher/kl", "teacher/log_ratio_std"];
const NAMES = Object.keys(META.metrics);
const isShare = (name) => /^(share|greedy accuracy|accuracy)/.test(META.metrics[name]);
const startsLog = (name) => name.startsWith("grad/norm");

function renderCurves() {
  const list = el("datalist", { id: "metric-names" });
  list.append(...NAMES.map((name) => el("option", { value: name }, META.metrics[name])));
  document.body.append(list);
  for (const name of DEFAULTS.filter((name) => NAMES.includes(name))) addCurve(name);
  byId("add-curve").onclick = () => addCurve(NAMES[0]);
}

function addCurve(name) {
  const state = { name, log: startsLog(name) };
  const box = el("div", { class: "plot" });
  const figure = el("figure", { class: "curve" });
  const entry = panel(figure, () => drawCurve(box, state));
  const meaning = el("p", { class: "meaning" });
  const scale = el("button", { type: "button", class: "scale" });
  const show = () => {
    figure.dataset.metric = state.name;
    meaning.textContent = META.metrics[state.name];
    scale.textContent = state.log ? "log" : "linear";
    outdated([entry]);
  };
  scale.onclick = () => {
    state.log = !state.log;
    show();
  };
  const pick = (name) => {
    Object.assign(state, { name, log: startsLog(name) });
    show();
  };
  figure.append(el("figcaption", {}, metricInput(state, pick), scale), meaning, box);
  byId("curve-panels").append(figure);
  show();
}

/** A searchable chooser: emptied while it is typed in, so that the list shows every metric. */
function metricInput(state, pick) {
  const input = el("input", { list: "metric-names", "aria-label": "metric", spellcheck: "false" });
  input.value = state.name;
  input.onfocus = () => {
    input.placeholder = state.name;
    input.value = "";
  };
  input.oninput = () => NAMES.includes(input.value) && pick(input.value);
  input.onchange = () => input.blur();
  input.onblur = () => {
    input.value = state.name;
  };
  return input;
}

async function drawCurve(box, { name, log }) {
  const data = await unpack(`curve/${name}`);
  const traces = drawn().flatMap((place) => armTraces(data, place, log));
  const [low, high] = logRange(traces.flatMap(({ y }) => y));
  const percent = isShare(name) && !log ? { tickformat: ",.0%" } : {};
  const empty = traces.length === 0 ? [note("no arm that is shown has measured this")] : [];
  await plot(box, traces, {
    height: 270,
    hovermode: drawn().length > MOST_ON ? "closest" : "x",
    xaxis: stepAxis({ title: "training step", rangemode: "tozero" }),
    yaxis: log ? logAxis(high - low, { range: [low, high] }) : axis({ nticks: 6, ...percent }),
    annotations: empty,
  });
  Object.assign(box.dataset, { metric: name, scale: log ? "log" : "linear" });
}

/** A sentence in the middle of an empty plot. */
const note = (text) => ({
  text,
  showarrow: false,
  xref: "paper",
  yref: "paper",
  x: 0.5,
  y: 0.5,
  font: { color: themed("soft") },
});

/** An arm's seeds, band and mean. */
function armTraces(data, place, log) {
  const arm = ARMS[place];
  const colour = armColour(arm);
  const [linear, geometric] = data.arms[place];
  const band = (log && geometric) || linear;
  const seeds = seedTrace(
    arm.runs.map((run) => data.runs[run]),
    colour,
  );
  if (band === null) return seeds ? [seeds] : [];
  const [steps, middle, low, high] = band;
  return [
    ...(seeds && arm.runs.length > 1 ? [seeds] : []),
    ...(low ? [bandTrace(steps, low, high, faint(colour, 0.14))] : []),
    meanTrace(arm, steps, middle, low, high),
  ];
}

/** All seeds as one trace, with gaps between them. */
function seedTrace(curves, colour, width = 0.8, opacity = 0.35) {
  const known = curves.filter(Boolean);
  if (known.length === 0) return null;
  return {
    x: known.flatMap(([steps]) => [...steps, null]),
    y: known.flatMap(([, values]) => [...values, null]),
    mode: "lines",
    line: { color: faint(colour, opacity), width },
    hoverinfo: "skip",
  };
}

const bandTrace = (steps, low, high, fillcolor, changes = {}) => ({
  x: [...steps, ...[...steps].reverse()],
  y: [...high, ...[...low].reverse()],
  mode: "lines",
  fill: "toself",
  fillcolor,
  line: { width: 0 },
  hoverinfo: "skip",
  ...changes,
});

function meanTrace(arm, steps, middle, low, high) {
  const spread = (at) => (low ? ` (${number(low[at])} to ${number(high[at])})` : "");
  return {
    x: steps,
    y: middle,
    name: escaped(arm.name),
    text: middle.map((mean, at) => `${number(mean)}${spread(at)}`),
    hovertemplate: `${escaped(arm.name)}: %{text}<extra></extra>`,
    mode: steps.length > 12 ? "lines" : "lines+markers",
    marker: { size: 4 },
    line: { color: armColour(arm), width: 1.8, dash: arm.dash },
  };
}
