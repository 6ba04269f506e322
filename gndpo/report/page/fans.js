// Fan charts: quantiles of all tokens of a step over training, one row per arm.

const FANS = [
  ["log_ratio", "log-ratio, teacher against student (nats)"],
  ["advantage", "advantage (nats; without unit once whitened)"],
];
const RIBBONS = [
  ["min", "max", 0.1],
  ["p01", "p99", 0.16],
  ["p05", "p95", 0.22],
  ["p25", "p75", 0.34],
];
const ROOMY = 8; // of an asinh axis: so far there are ticks between powers of ten
const fanScale = { asinh: true };

function renderFans() {
  const switchTo = (name) => {
    fanScale.asinh = name === "asinh";
    outdated([entry]);
  };
  const scales = [
    ["asinh", "asinh (linear near 0, then log)"],
    ["linear", "linear"],
  ];
  byId("fan-controls").append(chooser("Scale", scales, "asinh", switchTo));
  const entry = panel(byId("fan-plots"), drawFans);
}

async function drawFans() {
  const data = await Promise.all(FANS.map(([name]) => unpack(`fan/${name}`)));
  const places = drawn().slice(0, MOST_FACETS);
  const known = places.filter((place) => data.some((fans) => fans[place]));
  const limits = data.map((fans) => fanLimits(known.map((place) => fans[place])));
  const draws = [];
  const rows = known.map((place) => {
    const cells = FANS.map(([, title], at) => {
      const box = el("div", { class: "plot" });
      if (data[at][place])
        draws.push(() => drawFan(box, data[at][place], place, title, limits[at]));
      else box.append(el("p", { class: "soft" }, `no quantiles of the ${FANS[at][0]} in its logs`));
      return box;
    });
    const name = el("h3", {}, swatch(ARMS[place]), ARMS[place].name);
    return el("div", { class: "fan-row", "data-facet": ARMS[place].name }, name, cells);
  });
  const titles = el(
    "div",
    { class: "fan-row titles" },
    FANS.map(([, title]) => el("b", {}, title)),
  );
  const shown = rows.length ? [titles, ...rows] : ["No arm that is shown has logged quantiles."];
  replacePlots(byId("fan-plots"), shown);
  await Promise.all(draws.map((draw) => draw()));
}

const scaled = (y) => (fanScale.asinh ? Math.asinh(y) : y);

/** The range of a column, the same for all arms. */
function fanLimits(fans) {
  const values = fans.filter(Boolean).flatMap((fan) => Object.values(fan.quantiles).flat());
  const known = values.filter((y) => y !== null).map(scaled);
  const [low, high] = known.reduce(([a, b], y) => [Math.min(a, y), Math.max(b, y)], [0, 0]);
  const room = 0.04 * (high - low) || 1;
  return [low - room, high + room];
}

async function drawFan(box, { steps, quantiles }, place, title, range) {
  const colour = armColour(ARMS[place]);
  const scaledOf = (name) => quantiles[name].map(scaled);
  const ribbons = RIBBONS.filter(([low, high]) => quantiles[low] && quantiles[high]);
  const traces = ribbons.map(([low, high, opacity]) =>
    bandTrace(steps, scaledOf(low), scaledOf(high), faint(colour, opacity)),
  );
  if (quantiles.p50) traces.push(medianTrace(steps, quantiles, colour));
  await plot(box, traces, {
    height: 170,
    margin: { l: 44, r: 8, t: 4, b: 24 },
    hovermode: "x",
    xaxis: stepAxis({ rangemode: "tozero" }),
    yaxis: axis({ range, zeroline: true, zerolinecolor: themed("line"), ...ticks(range) }),
  });
}

/** The median, which tells all quantiles when it is pointed at. */
function medianTrace(steps, quantiles, colour) {
  const names = META.quantiles.filter((name) => quantiles[name]);
  const tell = (_, at) =>
    names
      .map((name) => `${name} ${number(quantiles[name][at])}`)
      .reverse()
      .join("<br>");
  return {
    x: steps,
    y: quantiles.p50.map(scaled),
    text: steps.map(tell),
    hovertemplate: "step %{x}<br>%{text}<extra></extra>",
    mode: "lines",
    line: { color: colour, width: 1.6 },
  };
}

/** Ticks of the asinh scale: 0, powers of ten, and 3, 30, ... between them where there is room. */
function ticks(range) {
  if (!fanScale.asinh) return { nticks: 5 };
  const room = range[1] - range[0];
  const sizes = [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 1e4, 1e5, 1e6].filter(
    (x, place) => x > room / 12 && (place % 2 === 0 || x > 300 || room < ROOMY),
  );
  const inside = (x) => Math.asinh(x) >= range[0] && Math.asinh(x) <= range[1];
  const kept = [0, ...sizes.flatMap((x) => [-x, x])].filter(inside);
  return { tickvals: kept.map(Math.asinh), ticktext: kept.map((x) => number(x)) };
}
