// From data to page: what is seen first comes first, plots when they are scrolled to.

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = name === "dark" ? "Light" : "Dark";
  for (const node of document.querySelectorAll("[data-colour]"))
    node.style.background = inTheme(node.dataset.colour);
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => setTheme(dark.matches ? "dark" : "light");
  follow();
  dark.onchange = () => {
    follow();
    changed();
  };
  byId("theme").onclick = () => {
    setTheme(isDark() ? "light" : "dark");
    changed();
  };
}

/** A watched page loads itself again, unless somebody has begun to work with it. */
function watch() {
  const busy = new AbortController();
  const stop = () => {
    clearTimeout(timer);
    busy.abort();
    byId("watch").textContent = "; reload to see the latest";
  };
  const timer = setTimeout(() => location.reload(), 1000 * META.every);
  for (const event of ["pointerdown", "keydown"]) addEventListener(event, stop, busy);
}

async function start() {
  startTheme();
  if (META.every) watch();
  configs = await unpack("config");
  renderArms();
  renderFilters();
  renderTable();
  renderCurves();
  renderGradients();
  renderFans();
  renderAccuracy();
  renderDiff();
  await renderTokens();
  performance.mark("ready");
  document.documentElement.dataset.ready = "";
}

start();
