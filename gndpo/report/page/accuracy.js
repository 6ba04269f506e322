// Accuracy after training: by kind of question, and what is left of it without the image.

const GROUP = 0.7; // of the distance between two rows, over which arms are spread

function renderAccuracy() {
  panel(byId("kind-plot"), drawKinds);
  panel(byId("blind-plot"), drawBlind);
}

/** Base student, teacher and the arms that are shown, best first; null where not measured. */
async function models() {
  const { kinds, models } = await unpack("accuracy");
  const [base, teacher, ...arms] = models;
  const trained = drawn().map((place) => ({ ...arms[place], colour: armColour(ARMS[place]) }));
  const soft = { colour: null };
  return { kinds, base: { ...base, ...soft }, teacher: { ...teacher, ...soft }, trained };
}

async function drawKinds() {
  const { kinds, base, teacher, trained } = await models();
  const arms = trained.filter((arm) => arm.kinds.some(Boolean));
  const offset = (at) => (arms.length > 1 ? (at / (arms.length - 1) - 0.5) * GROUP : 0);
  const traces = [
    ...[
      [base, "line-ns"],
      [teacher, "line-ns"],
    ].map(([model, symbol]) => reference(model, symbol)),
    ...arms.map((arm, at) => kindTrace(arm, kinds, offset(at))),
  ];
  await plot(byId("kind-plot"), traces, {
    margin: { l: 48, r: 16, t: 24, b: 34 },
    height: 76 + kinds.length * Math.max(34, 11 * arms.length),
    xaxis: percentAxis(),
    yaxis: rowAxis(kinds.map((kind) => kind.replaceAll("_", " "))),
    annotations: kinds.length
      ? referenceNames([base, teacher])
      : [note("no run was tested by kind")],
  });
}

const percentAxis = () =>
  axis({ range: [0, 1.02], tickformat: ",.0%", showline: true, side: "bottom", fixedrange: true });

const shortened = (name) => (name.length > 30 ? `${name.slice(0, 14)}…${name.slice(-14)}` : name);

const rowAxis = (names) =>
  axis({
    tickvals: names.map((_, row) => row),
    ticktext: names.map(shortened).map(escaped),
    range: [names.length - 0.5, -0.5],
    showgrid: false,
    tickfont: { color: themed("ink"), size: 12 },
    fixedrange: true,
  });

function kindTrace(arm, kinds, offset) {
  const rows = kinds.map((_, row) => row).filter((row) => arm.kinds[row]);
  const means = rows.map((row) => arm.kinds[row]);
  return {
    x: means.map(([mean]) => mean),
    y: rows.map((row) => row + offset),
    error_x: intervals(means, arm.colour),
    text: means
      .map((mean, at) => `${arm.name}, ${kinds[rows[at]]}: ${percentText(mean)}`)
      .map(escaped),
    hovertemplate: "%{text}<extra></extra>",
    mode: "markers",
    marker: { color: arm.colour, size: 7 },
  };
}

const intervals = (means, color) => ({
  type: "data",
  symmetric: false,
  array: means.map(([mean, , high]) => (high === undefined ? 0 : Math.min(high, 1) - mean)),
  arrayminus: means.map(([mean, low]) => (low === undefined ? 0 : mean - Math.max(low, 0))),
  color,
  thickness: 1.2,
  width: 0,
});

const percentText = ([mean, low, high]) => {
  const percent = (x) => (100 * x).toFixed(1);
  return `${percent(mean)}%${low === undefined ? "" : ` (${percent(low)} to ${percent(high)})`}`;
};

/** Base student or teacher: an upright mark across the row. */
function reference(model, symbol) {
  const rows = model.kinds.map((_, row) => row).filter((row) => model.kinds[row]);
  return {
    x: rows.map((row) => model.kinds[row][0]),
    y: rows,
    text: rows.map((row) => `${model.name}: ${percentText(model.kinds[row])}`),
    hovertemplate: "%{text}<extra></extra>",
    mode: "markers",
    marker: { symbol, size: 26, line: { width: 1.4, color: themed("soft") } },
  };
}

/** The names of the upright marks, above the first row. */
const referenceNames = (models) =>
  models
    .filter((model) => model.kinds[0])
    .map((model) => ({
      x: model.kinds[0][0],
      y: -0.5,
      text: model.name,
      showarrow: false,
      yanchor: "bottom",
      font: { color: themed("soft"), size: 11 },
    }));

async function drawBlind() {
  const { base, teacher, trained } = await models();
  const shown = [teacher, ...trained, base].filter((model) => model.image);
  const rows = shown.map((_, row) => row);
  await plot(byId("blind-plot"), [...shown.map(dumbbell), ...blindDots(shown, rows)], {
    height: 60 + Math.max(1, shown.length) * 30,
    xaxis: percentAxis(),
    yaxis: rowAxis(shown.map((model) => model.name)),
    annotations: shown.length ? [] : [note("no run has been tested yet")],
  });
}

const colourOf = (model) => model.colour ?? themed("soft");

const dumbbell = (model, row) => ({
  x: model.blind ? [model.blind[0], model.image[0]] : [],
  y: [row, row],
  mode: "lines",
  line: { color: colourOf(model), width: 1.4 },
  hoverinfo: "skip",
});

function blindDots(shown, rows) {
  const dots = (key, fill, said) => ({
    x: shown.map((model) => model[key]?.[0] ?? null),
    y: rows,
    text: shown.map((model) =>
      escaped(`${model.name} ${said}: ${model[key] ? percentText(model[key]) : ""}`),
    ),
    hovertemplate: "%{text}<extra></extra>",
    mode: "markers",
    marker: { size: 9, color: shown.map(fill), line: { width: 1.6, color: shown.map(colourOf) } },
  });
  return [
    dots("blind", () => themed("ground"), "without the image"),
    dots("image", colourOf, "with the image"),
  ];
}
