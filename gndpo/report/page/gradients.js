// Per arm: the whole gradient of each seed, its parts, spikes, skipped and clipped steps.

const MOST_FACETS = 12;
const PARTS = { language: "solid", projector: "dash", vision: "dot" };

function renderGradients() {
  if (!PACKS.has("curve/grad/norm")) {
    byId("gradient-plots").textContent = "No run has logged grad/norm.";
    return;
  }
  panel(byId("gradient-plots"), drawGradients);
}

async function drawGradients() {
  const parts = Object.keys(PARTS).map((part) => `curve/grad/norm_${part}`);
  const names = ["curve/grad/norm", "curve/grad/clipped", "marks", ...parts];
  const [whole, clipped, marks, ...means] = await Promise.all(names.map(unpack));
  const places = drawn().slice(0, MOST_FACETS);
  const curves = [
    ...places.flatMap((place) => ARMS[place].runs.map((run) => whole.runs[run])),
    ...means.flatMap((part) => places.map((place) => part?.arms[place][1])),
  ];
  const range = logRange(curves.filter(Boolean).flatMap(([, values]) => values));
  const facets = places.map((place) => {
    const figure = facet(ARMS[place], markText(ARMS[place], marks));
    const data = { whole, parts: means, clipped, marks, range };
    return [figure, () => drawFacet(figure.lastChild, place, data)];
  });
  const figures = facets.map(([figure]) => figure);
  replacePlots(byId("gradient-plots"), figures);
  await Promise.all(facets.map(([, draw]) => draw()));
}

/** A small figure under an arm's name. */
function facet(arm, text) {
  const caption = el("figcaption", {}, swatch(arm), el("b", {}, arm.name), " ", text);
  return el("figure", { "data-facet": arm.name }, caption, el("div", { class: "plot" }));
}

function markText(arm, marks) {
  const count = (what) => arm.runs.reduce((sum, run) => sum + marks[run].counts[what], 0);
  const named = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  const text = `${named(count("spikes"), "spike")}, ${named(count("skipped"), "skipped step")}`;
  return el("span", { class: "soft" }, `${text} in ${named(arm.runs.length, "run")}`);
}

async function drawFacet(box, place, { whole, parts, clipped, marks, range }) {
  const arm = ARMS[place];
  const seeds = seedTrace(
    arm.runs.map((run) => whole.runs[run]),
    inTheme("#000000"),
    1,
    0.45,
  );
  const means = parts.map((part, at) => partTrace(part?.arms[place], arm, at));
  const traces = [
    seeds,
    ...means,
    spikeTrace(arm, marks),
    skipTrace(arm, marks, range),
    clipTrace(clipped?.arms[place][0]),
  ];
  await plot(box, traces.filter(Boolean), {
    height: 230,
    margin: { l: 44, r: 8, t: 4, b: 34 },
    xaxis: stepAxis({ title: "training step", rangemode: "tozero", anchor: "y2" }),
    yaxis: logAxis(range[1] - range[0], { range, domain: [0.08, 1] }),
    yaxis2: { domain: [0, 0.045], visible: false },
  });
}

function partTrace(bands, arm, at) {
  const band = bands && (bands[1] ?? bands[0]);
  if (!band) return null;
  const [steps, middle] = band;
  const [name, dash] = Object.entries(PARTS)[at];
  const line = { color: armColour(arm), width: 1.6, dash };
  const text = middle.map((norm) => number(norm));
  return {
    x: steps,
    y: middle,
    mode: "lines",
    line,
    text,
    hovertemplate: `${name} %{text}, step %{x}<extra></extra>`,
  };
}

function spikeTrace(arm, marks) {
  const found = arm.runs.flatMap((run) =>
    marks[run].spikes.map(([step, norm]) => ({ step, norm, seed: RUNS[run].seed })),
  );
  return {
    x: found.map(({ step }) => step),
    y: found.map(({ norm }) => norm),
    text: found.map(({ norm, seed }) => `spike ${number(norm)}, seed ${seed}`),
    hovertemplate: "%{text}, step %{x}<extra></extra>",
    mode: "markers",
    marker: { symbol: "triangle-up", size: 9, color: themed("alarm") },
  };
}

function skipTrace(arm, marks, range) {
  const steps = arm.runs.flatMap((run) => marks[run].skipped);
  return {
    x: steps,
    y: steps.map(() => 10 ** (range[1] - 0.05)),
    mode: "markers",
    marker: { symbol: "x-thin", size: 8, line: { width: 2, color: themed("alarm") } },
    hovertemplate: "skipped, step %{x}<extra></extra>",
  };
}

/** A strip: the darker, the more of the updates around this step were clipped. */
function clipTrace(band) {
  if (!band) return null;
  const [steps, share] = band;
  const ends = [faint(inTheme("#000000"), 0.04), faint(inTheme("#000000"), 0.7)];
  return {
    type: "heatmap",
    x: steps,
    y: [0],
    z: [share],
    yaxis: "y2",
    zmin: 0,
    zmax: 1,
    colorscale: [
      [0, ends[0]],
      [1, ends[1]],
    ],
    showscale: false,
    hovertemplate: "%{z:.0%} clipped, step %{x}<extra></extra>",
  };
}
