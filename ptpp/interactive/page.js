"use strict";

// The page itself: what is asked for (state), what follows from it, and how it is shown.

const data = JSON.parse(document.getElementById("data").textContent);
const GRID = 81; // points of the map along each axis
const SHARE_GRID = 41; // the same for shares of draws
const BAND = [0.05, 0.95]; // the quantiles of draws between which bands run
const VEIL = 0.45; // how opaque the veil over broken limits is
const PAUSE = 150; // milliseconds without a change before draws are counted
const byId = (id) => document.getElementById(id);
const targets = data.fits.filter((fit) => !fit.forgets);
const keyOf = (fit) => `${fit.law}.${fit.protocol}`;
const targetFit = () => targets.find((fit) => keyOf(fit) === state.law);
const forgettingFits = () =>
  data.fits.filter((fit) => fit.forgets && fit.protocol === targetFit().protocol);
const domains = [...new Set(data.fits.filter((fit) => fit.forgets).map((fit) => fit.domain))];

// Numbers as text

function plain(value, digits = 4) {
  if (value === null || Number.isNaN(value)) return "none";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(digits - 2).replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

function percent(share) {
  return `${Number((100 * share).toFixed(1))} %`;
}

// What is asked for

const asked = data.request;
const state = {
  law: data.headline,
  n_params: asked.n_params,
  ptpp: asked.ptpp,
  mode: asked.target === null ? "within" : "target",
  within: asked.within ?? 0.05,
  target: asked.target ?? 2,
  forgetting: Object.fromEntries(domains.map((d) => [d, asked.forgetting[d] ?? null])),
  max_atpp: asked.max_atpp,
  max_flops: asked.max_flops,
  level: asked.level,
  replay: null, // your own point; null: the cheapest plan
  atpp: null,
  shown: "target",
};
const configured = structuredClone(state);

// One slider and one number each. `log`: the slider moves through powers of ten. `optional`: the
// limit may be absent, and `fallback` is what it is when it is switched on.
const fields = [
  { id: "n_params", in: "model", label: "Parameters N", unit: "parameters", log: true, low: 1e4, high: 1e12 },
  { id: "ptpp", in: "model", label: "Pre-training, PTPP", unit: "tokens/parameter", log: true, low: 1, high: 1e4 },
  { id: "within", in: "limits", label: "Above the best reachable", unit: "nats/token", log: true, low: 1e-3, high: 2 },
  { id: "target", in: "limits", label: "Target loss at most", unit: "nats/token", low: 0.05, high: 12, step: 0.01 },
  ...domains.map((domain) => ({
    id: `forgetting_${domain}`, in: "limits", label: `Forgetting of ${domain} at most`,
    unit: "nats/token", low: -0.5, high: 4, step: 0.01, optional: true, fallback: 0.5,
  })),
  { id: "max_atpp", in: "budget", label: "Tokens, ATPP at most", unit: "tokens/parameter", log: true, low: 0.01, high: 1e4 },
  { id: "max_flops", in: "budget", label: "Compute at most", unit: "FLOPs", log: true, low: 1e9, high: 1e27, optional: true, fallback: null },
  { id: "level", in: "certainty", label: "Share of draws that keep the limits", unit: "%", low: 50, high: 99, step: 1, scale: 100 },
  { id: "replay", in: "probe", label: "Replay", unit: "share", low: asked.min_replay, high: asked.max_replay, step: 0.005 },
  { id: "atpp", in: "probe", label: "ATPP", unit: "tokens/parameter", log: true, low: 0.01, high: 1e4 },
];

function valueOf(field) {
  if (field.id.startsWith("forgetting_")) return state.forgetting[field.id.slice(11)];
  if (field.in === "probe") return probe()[field.id];
  return state[field.id];
}

function setValue(field, value) {
  if (field.id.startsWith("forgetting_")) state.forgetting[field.id.slice(11)] = value;
  else if (field.in === "probe") Object.assign(state, probe(), { [field.id]: value });
  else state[field.id] = value;
  field.in === "probe" ? show() : update();
}

function probe() {
  const at = found.point.refused ? { replay: asked.min_replay, atpp: asked.max_atpp } : found.point;
  return { replay: state.replay ?? at.replay, atpp: state.atpp ?? at.atpp };
}

// What follows: law values, plans and shares

function predictor(fit, params, model) {
  return FORMULAS[fit.law](params, fit.reference, model);
}

function modelOf(values) {
  return { n_params: values.n_params, ptpp: values.ptpp, base_loss: asked.base_loss };
}

// The search space at one set of parameters: pick(fit) is the fit's own or one of its draws.
function spaceOf(pick) {
  const model = modelOf(state);
  const flops = state.max_flops === null ? Infinity : state.max_flops / flopsOf(state.n_params, 1);
  const most = Math.min(state.max_atpp, flops);
  const limited = forgettingFits().filter((fit) => state.forgetting[fit.domain] !== null);
  return {
    low: Math.log(asked.min_atpp ?? most / 1000),
    high: Math.log(most),
    leastReplay: asked.min_replay,
    mostReplay: asked.max_replay,
    target: predictor(targetFit(), pick(targetFit()), model),
    forgetting: limited.map((fit) => ({
      name: `forgetting of ${fit.domain}`,
      domain: fit.domain,
      limit: state.forgetting[fit.domain],
      value: predictor(fit, pick(fit), model),
    })),
  };
}

function drawsOf() {
  return targetFit().draws.map((_, i) => spaceOf((fit) => fit.draws[i]));
}

const found = { space: null, draws: null, point: null, shares: null, robust: null, progress: 0 };
let waiting = 0; // the timer of the count to come; a newer one makes an older one stop

function update() {
  found.space = spaceOf((fit) => fit.params);
  found.draws = null;
  found.shares = found.robust = null;
  found.empty = !(found.space.low < found.space.high);
  found.point = found.empty
    ? { refused: true, feasible: false, limit: NaN }
    : pointPlan(found.space, {
        target: state.mode === "target" ? state.target : null,
        within: state.within,
      });
  finish(found.point);
  found.draws = found.empty ? [] : drawsOf();
  clearTimeout(waiting);
  if (!found.point.refused && !Number.isNaN(found.point.limit))
    waiting = setTimeout(() => count(), PAUSE);
  show();
}

// The count of draws takes a second or so; it goes on in short pieces, so that sliders stay quick.
function count() {
  const mine = waiting;
  const steps = shareMap(found.space, found.draws, found.point.limit, SHARE_GRID);
  const piece = () => {
    if (mine !== waiting) return;
    const until = performance.now() + 30;
    while (performance.now() < until) {
      const step = steps.next();
      if (step.done) {
        found.shares = step.value;
        chooseRobust();
        showVerdict();
        showTable();
        drawSoon(drawMap);
        return;
      }
    }
    setTimeout(piece, 0);
  };
  piece();
}

function chooseRobust() {
  if (found.shares === null) return;
  const { space, draws, point, shares } = found;
  found.robust = robustPlan(space, draws, point.limit, state.level, shares, point);
  finish(found.robust);
}

function finish(point) {
  if (point.logAtpp === undefined) return;
  point.atpp = Math.exp(point.logAtpp);
  const edges = [];
  if (point.logAtpp >= found.space.high - 1e-6)
    edges.push(Math.exp(found.space.high) < state.max_atpp * (1 - 1e-9) ? "compute" : "ATPP at most");
  if (point.replay >= found.space.mostReplay - 1e-6) edges.push("greatest replay");
  if (point.feasible && point.logAtpp <= found.space.low + 1e-6) edges.push("least ATPP");
  point.edges = edges;
}

// Laws' values at a point, with the band of the draws; forgetting of every domain, limited or not.
function valuesAt(replay, atpp) {
  const model = modelOf(state);
  const value = (fit) => {
    const draws = fit.draws.map((params) => predictor(fit, params, model)(replay, atpp));
    return {
      value: predictor(fit, fit.params, model)(replay, atpp),
      low: quantile(draws, BAND[0]),
      high: quantile(draws, BAND[1]),
    };
  };
  return { target: value(targetFit()), forgetting: forgettingFits().map(value) };
}

// Inputs of the laws beyond what their fits were measured on, each in words.
function beyond(point) {
  const inputs = { n_params: state.n_params, ptpp: state.ptpp };
  if (point.atpp !== undefined) {
    inputs.replay = point.replay;
    inputs.share = 1 - point.replay;
    inputs.atpp = point.atpp;
    inputs.adapt_tokens = point.atpp * state.n_params;
  }
  const names = { n_params: "N", ptpp: "PTPP", replay: "replay", share: "replay", atpp: "ATPP", adapt_tokens: "tokens" };
  const words = new Map();
  for (const fit of [targetFit(), ...forgettingFits()])
    for (const [name, [low, high]] of Object.entries(fit.ranges)) {
      const value = inputs[name];
      const slack = 1e-9 * Math.max(Math.abs(low), Math.abs(high));
      if (value === undefined || (value >= low - slack && value <= high + slack)) continue;
      const [from, to, at] = name === "share" ? [1 - high, 1 - low, 1 - value] : [low, high, value];
      words.set(names[name], `${names[name]} ${plain(at)} (measured ${plain(from)} to ${plain(to)})`);
    }
  return [...words.values()];
}

// How it is shown

function show() {
  showControls();
  showVerdict();
  showTable();
  drawSoon(drawMap);
  drawSoon(drawSlices);
}

// Plots are drawn once per frame, however fast a slider moves.
const toDraw = new Set();

function drawSoon(plot) {
  if (toDraw.size === 0)
    requestAnimationFrame(() => {
      const plots = [...toDraw];
      toDraw.clear();
      plots.forEach((draw) => draw());
    });
  toDraw.add(plot);
}

function describe(point) {
  return (
    `replay ${plain(point.replay, 3)}, ATPP ${plain(point.atpp)}: ` +
    `${plain(point.atpp * state.n_params)} tokens, ${plain(flopsOf(state.n_params, point.atpp))} FLOPs`
  );
}

function showVerdict() {
  const { point, robust } = found;
  const say = (id, title, text) => {
    byId(id).replaceChildren(Object.assign(document.createElement("strong"), { textContent: `${title} ` }), text);
  };
  if (found.empty)
    say("point-verdict", "No plan.", `The budget ends at ATPP ${plain(Math.exp(found.space.high))}; the search begins at ${plain(Math.exp(found.space.low))}.`);
  else if (point.refused)
    say("point-verdict", "No plan.", "By this law target loss rises with tokens here, and a plan needs a law whose loss falls.");
  else if (point.feasible) {
    const bound = [...point.binding, ...point.edges].join(", ");
    say("point-verdict", "Cheapest plan:", `${describe(point)}.${bound ? ` What binds: ${bound}.` : ""}`);
  } else if (Number.isNaN(point.limit))
    say("point-verdict", "No point keeps the forgetting limits.", `The nearest misses by ${plain(point.shortfall, 3)} nats/token, at ${describe(point)}. In the way: ${point.binding.join(", ")}.`);
  else
    say("point-verdict", "No point keeps every limit.", `The nearest misses by ${plain(point.shortfall, 3)} nats/token, at ${describe(point)}. In the way: ${[...point.binding, ...point.edges].join(", ")}.`);
  const title = `Robust plan (${percent(state.level)} of draws):`;
  if (point.refused || Number.isNaN(point.limit)) say("robust-verdict", title, "none.");
  else if (robust === null) say("robust-verdict", title, "counting draws …");
  else if (robust.feasible) {
    const more = point.feasible ? robust.atpp / point.atpp : NaN;
    say("robust-verdict", title, `${describe(robust)}${Number.isNaN(more) ? "" : ` (${plain(more, 3)} times the compute of the cheapest)`}.`);
  } else
    say("robust-verdict", title, `none. At best ${percent(robust.share)} of the draws keep every limit at once, near replay ${plain(robust.replay, 3)}, ATPP ${plain(robust.atpp, 3)}.`);
  const outside = beyond(point);
  byId("extrapolation").hidden = outside.length === 0;
  byId("extrapolation").replaceChildren(
    Object.assign(document.createElement("strong"), { textContent: "Extrapolated: " }),
    `${outside.join("; ")}. No measurement bounds the error there; bands show only what resampling the runs changes.`,
  );
}

function showControls() {
  for (const field of fields) {
    const value = valueOf(field);
    const { row, slider, number, limited } = field;
    row.hidden = (field.id === "within" || field.id === "target") && field.id !== state.mode;
    const off = value === null;
    if (limited) limited.checked = !off;
    slider.disabled = number.disabled = off;
    if (off) {
      number.value = "";
      slider.setAttribute("aria-valuetext", "no limit");
      continue;
    }
    const scaled = value * (field.scale ?? 1);
    slider.value = field.log ? Math.log10(scaled) : scaled;
    slider.setAttribute("aria-valuetext", `${plain(scaled)} ${field.unit}`);
    if (document.activeElement !== number) number.value = plain(scaled, 5);
    number.removeAttribute("aria-invalid");
  }
  byId("law").value = state.law;
  byId("mode").value = state.mode;
  const fit = targetFit();
  const notes = [];
  if (fit.drawn.length) notes.push(`${fit.drawn.join(", ")} cannot be told from the measured rows and is drawn at random in every draw.`);
  if (fit.at_bounds.length) notes.push(`At a bound of the fit: ${fit.at_bounds.join(", ")}.`);
  byId("law-note").textContent = [`${fit.title}, ${fit.draws.length} draws.`, ...notes].join(" ");
  byId("equations").replaceChildren(
    ...[fit, ...forgettingFits().slice(0, 1)].map((each) =>
      Object.assign(document.createElement("div"), { textContent: `${each.law}: ${each.equation}` }),
    ),
  );
}

function cell(kind, text, below = "") {
  const made = Object.assign(document.createElement(kind), { textContent: text });
  if (below) made.append(Object.assign(document.createElement("small"), { textContent: below }));
  return made;
}

function showTable() {
  const own = probe();
  const columns = state.replay === null ? [] : [["Your point", { ...own, logAtpp: Math.log(own.atpp) }]];
  if (found.robust?.feasible) columns.unshift(["Robust plan", found.robust]);
  if (!found.point.refused)
    columns.unshift([found.point.feasible ? "Cheapest plan" : "Nearest miss", found.point]);
  for (const column of columns) column[2] = valuesAt(column[1].replay, column[1].atpp);
  const rows = [
    ["Replay", (point) => [plain(point.replay, 4)]],
    ["ATPP, tokens/parameter", (point) => [plain(point.atpp)]],
    ["Tokens", (point) => [plain(point.atpp * state.n_params)]],
    ["Compute, FLOPs", (point) => [plain(flopsOf(state.n_params, point.atpp))]],
    [`Loss of ${targetFit().domain}, nats/token`, (_, values) => measured(values.target, found.point.limit)],
    ...forgettingFits().map((fit, i) => [
      `Forgetting of ${fit.domain}, nats/token`,
      (_, values) => measured(values.forgetting[i], state.forgetting[fit.domain]),
    ]),
  ];
  if (!Number.isNaN(found.point.limit))
    rows.push([
      "Draws that keep every limit",
      (point) => [percent(shareOfDraws(found.draws, found.point.limit, point.replay, point.logAtpp))],
    ]);
  const head = document.createElement("tr");
  head.append(...["", ...columns.map(([name]) => name)].map((name) => {
    const made = cell("th", name);
    made.scope = "col";
    return made;
  }));
  const body = rows.map(([name, text]) => {
    const row = document.createElement("tr");
    const title = cell("th", name);
    title.scope = "row";
    row.append(title, ...columns.map(([, point, values]) => {
      const [value, below, broken] = text(point, values);
      const made = cell("td", value, below);
      if (broken) made.className = "broken";
      return made;
    }));
    return row;
  });
  const parts = ["thead", "tbody"].map((kind) => document.createElement(kind));
  parts[0].append(head);
  parts[1].append(...body);
  byId("numbers").replaceChildren(...parts);
  byId("table-note").textContent =
    "Small print: 5th to 95th percentile of the draws, and the limit. Marked: the fitted law is beyond its limit.";
}

function measured({ value, low, high }, limit) {
  const known = limit !== null && !Number.isNaN(limit);
  const bound = known ? `, limit ${plain(limit)}` : "";
  const broken = known && value - limit > TOLERANCE;
  return [plain(value) + (broken ? " (too much)" : ""), `${plain(low, 3)} … ${plain(high, 3)}${bound}`, broken];
}

// Plots

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const domainColour = (domain) => colour(`domain-${(domains.indexOf(domain) % 3) + 1}`);
const DASHES = ["dash", "dot", "dashdot", "longdash"];
const domainDash = (domain) => DASHES[domains.indexOf(domain) % DASHES.length];

function faded(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

function layout(more) {
  const axis = { gridcolor: faded(colour("line"), 0.35), linecolor: colour("line"), zeroline: false, ticks: "outside", tickcolor: colour("line") };
  return {
    paper_bgcolor: "rgba(0, 0, 0, 0)",
    plot_bgcolor: "rgba(0, 0, 0, 0)",
    font: { color: colour("ink"), size: 13, family: "system-ui, sans-serif" },
    margin: { l: 58, r: 12, t: 8, b: 44 },
    showlegend: false,
    dragmode: false,
    hovermode: "closest",
    ...more,
    xaxis: { ...axis, fixedrange: true, ...more.xaxis },
    yaxis: { ...axis, fixedrange: true, ...more.yaxis },
  };
}

const SETTINGS = { displayModeBar: false, responsive: true };

function tokensAxis(title) {
  const ends = [found.space.low, found.space.high].map((x) => x / Math.LN10);
  const ticks = [];
  for (let power = Math.floor(ends[0]) - 1; power <= ends[1]; power++)
    for (const digit of [1, 2, 5]) {
      const value = digit * 10 ** power;
      const at = Math.log10(value);
      if (at >= ends[0] - 1e-9 && at <= ends[1] + 1e-9 && (digit === 1 || ends[1] - ends[0] < 2.5)) ticks.push(value);
    }
  return {
    type: "log", range: ends, title: { text: title },
    tickvals: ticks, ticktext: ticks.map((value) => plain(value)),
  };
}

function surface(value) {
  const x = spaced(found.space.leastReplay, found.space.mostReplay, GRID);
  const y = spaced(found.space.low, found.space.high, GRID).map(Math.exp);
  return { x, y, z: y.map((atpp) => x.map((replay) => value(replay, atpp))) };
}

// One tint where a surface is above 0. Filled contours, since plotly smooths no heatmap on a
// logarithmic axis; it paints what is above a level over what is below.
function tinted(values, tint) {
  return {
    type: "contour", ...values, hoverinfo: "skip", showscale: false, autocontour: false,
    contours: { coloring: "fill", showlines: false, start: 0, end: 0, size: 1 },
    line: { width: 0 }, colorscale: [[0, "rgba(0, 0, 0, 0)"], [1, tint]],
  };
}

function drawMap() {
  if (found.empty) return Plotly.purge(byId("map"));
  const { space, shares, point, robust } = found;
  const model = modelOf(state);
  const values = { target: space.target };
  for (const fit of forgettingFits()) values[fit.domain] = predictor(fit, fit.params, model);
  const traces = [];
  const key = [];
  const unit = state.shown === "share" ? "" : " nats/token";
  const filled = state.shown === "share"
    ? shares && { x: shares.replay, y: shares.logAtpp.map(Math.exp), z: shares.all }
    : surface(values[state.shown]);
  if (filled)
    traces.push({
      type: "contour", ...filled, ncontours: 12,
      colorscale: [[0, colour("fill-low")], [1, colour("fill-high")]],
      ...(state.shown === "share" ? { zmin: 0, zmax: 1 } : {}),
      contours: { coloring: "heatmap", showlines: false },
      colorbar: { thickness: 10, outlinewidth: 0, tickfont: { size: 11 }, x: 1.02, xpad: 0 },
      hovertemplate: `replay %{x:.3f}<br>ATPP %{y:.4g}<br>%{z:.4g}${unit}<extra></extra>`,
    });
  const limits = [
    ...(Number.isNaN(point.limit) ? [] : [{ name: `target loss ${plain(point.limit, 4)}`, of: "target", limit: point.limit, line: colour("target"), dash: "solid", share: shares?.target }]),
    ...space.forgetting.map((f, i) => ({ name: `forgetting of ${f.domain} ${plain(f.limit)}`, of: f.domain, limit: f.limit, line: domainColour(f.domain), dash: domainDash(f.domain), share: shares?.forgetting[i] })),
  ];
  if (limits.length) {
    const excess = surface((replay, atpp) => Math.max(...limits.map((l) => values[l.of](replay, atpp) - l.limit - TOLERANCE)));
    traces.push(tinted(excess, faded(colour("veil"), VEIL)));
    key.push({ patch: faded(colour("veil"), VEIL + 0.15), text: "a limit is broken" });
  }
  const banded = shares && limits.find((l) => l.of === state.shown);
  if (banded)
    traces.push(tinted({
      x: shares.replay, y: shares.logAtpp.map(Math.exp),
      z: banded.share.map((row) => row.map((share) => Math.min(share - BAND[0], BAND[1] - share))),
    }, faded(banded.line, 0.2)));
  if (filled)
    traces.push({
      type: "contour", ...filled, ncontours: 12, hoverinfo: "skip", showscale: false,
      contours: { coloring: "none", showlabels: true, labelfont: { size: 11, color: colour("ink") } },
      line: { color: faded(colour("ink"), 0.6), width: 0.8 },
    });
  for (const l of limits) {
    const over = surface(values[l.of]);
    const kept = over.z.flat().map((value) => value - l.limit <= TOLERANCE);
    const where = kept.every(Boolean) ? " (kept everywhere)" : kept.some(Boolean) ? "" : " (kept nowhere)";
    traces.push({
      type: "contour", ...over, hoverinfo: "skip", showscale: false, autocontour: false,
      contours: { type: "levels", coloring: "none", start: l.limit, end: l.limit, size: 1 },
      line: { color: l.line, width: 3, dash: l.dash },
    });
    key.push({ line: l.line, dash: l.dash, text: `limit: ${l.name}${where}` });
  }
  if (banded)
    key.push({ patch: faded(banded.line, 0.4), text: `5 to 95 % of draws keep ${banded.name}` });
  if (shares && limits.length) {
    traces.push({
      type: "contour", x: shares.replay, y: shares.logAtpp.map(Math.exp), z: shares.all, hoverinfo: "skip", showscale: false, autocontour: false,
      contours: { type: "levels", coloring: "none", start: state.level, end: state.level, size: 1 },
      line: { color: colour("mark"), width: 2, dash: "solid" },
    });
    key.push({ line: colour("mark"), dash: "solid", text: `${percent(state.level)} of draws keep every limit${robust?.feasible ? "" : " (nowhere)"}` });
  }
  const marks = [];
  if (!point.refused) marks.push([point, point.feasible ? "star" : "x", 15, point.feasible ? "cheapest plan" : "nearest miss"]);
  if (robust?.feasible) marks.push([robust, "diamond", 13, "robust plan"]);
  if (state.replay !== null) marks.push([probe(), "circle", 12, "your point"]);
  for (const [at, symbol, size, name] of marks) {
    traces.push({
      type: "scatter", mode: "markers", x: [at.replay], y: [at.atpp], cliponaxis: false,
      marker: { symbol, size, color: colour("mark-edge"), line: { color: colour("mark"), width: 2 } },
      hovertemplate: `${name}<br>replay %{x:.4f}<br>ATPP %{y:.4g}<extra></extra>`,
    });
    key.push({ mark: symbol, text: name });
  }
  const box = measuredBox();
  if (box) key.push({ line: colour("ink"), dash: "dot", text: "measured replay and ATPP lie within" });
  Plotly.react("map", traces, layout({
    xaxis: { title: { text: "replay (share of tokens)" }, range: [space.leastReplay, space.mostReplay] },
    yaxis: tokensAxis("ATPP (tokens/parameter)"),
    shapes: box ? [{ type: "rect", ...box, line: { color: colour("ink"), width: 1.2, dash: "dot" } }] : [],
  }), SETTINGS);
  byId("map").setAttribute("aria-label", `Map over replay and ATPP. ${byId("point-verdict").textContent} ${byId("robust-verdict").textContent}`);
  showKey(key);
}

// The rectangle of replay and ATPP in which every chosen law was measured, cut to the map.
function measuredBox() {
  const box = { x0: found.space.leastReplay, x1: found.space.mostReplay, y0: Math.exp(found.space.low), y1: Math.exp(found.space.high) };
  for (const fit of [targetFit(), ...forgettingFits()]) {
    const { share, replay, atpp } = fit.ranges;
    for (const [low, high] of [share && [1 - share[1], 1 - share[0]], replay].filter(Boolean)) {
      box.x0 = Math.max(box.x0, low);
      box.x1 = Math.min(box.x1, high);
    }
    if (atpp) {
      box.y0 = Math.max(box.y0, atpp[0]);
      box.y1 = Math.min(box.y1, atpp[1]);
    }
  }
  return box.x0 < box.x1 && box.y0 < box.y1 ? box : null;
}

function showKey(entries) {
  const NS = "http://www.w3.org/2000/svg";
  const SHAPES = {
    star: "11,2 13.4,8.2 20,8.5 14.8,12.6 16.6,19 11,15.3 5.4,19 7.2,12.6 2,8.5 8.6,8.2",
    diamond: "11,3 18,11 11,19 4,11",
    x: "6,3 11,8 16,3 19,6 14,11 19,16 16,19 11,14 6,19 3,16 8,11 3,6",
    circle: Array.from({ length: 16 }, (_, i) => `${11 + 6 * Math.cos(i * 0.3927)},${11 + 6 * Math.sin(i * 0.3927)}`).join(" "),
  };
  const PATTERNS = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "10 4" };
  byId("key").replaceChildren(...entries.map((entry) => {
    const icon = document.createElementNS(NS, "svg");
    const part = document.createElementNS(NS, entry.mark ? "polygon" : entry.patch ? "rect" : "line");
    const set = (node, attributes) => Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    set(icon, { width: 22, height: 22, "aria-hidden": "true" });
    if (entry.mark) set(part, { points: SHAPES[entry.mark], fill: colour("mark-edge"), stroke: colour("mark"), "stroke-width": 1.5 });
    else if (entry.patch) set(part, { x: 1, y: 4, width: 20, height: 14, fill: entry.patch, stroke: colour("line") });
    else set(part, { x1: 0, x2: 22, y1: 11, y2: 11, stroke: entry.line, "stroke-width": 3, "stroke-dasharray": PATTERNS[entry.dash] });
    icon.append(part);
    const item = document.createElement("li");
    item.append(icon, entry.text);
    return item;
  }));
}

// Along ATPP at the replay of your own point: fitted laws as lines, the draws as bands.
function drawSlices() {
  if (found.empty) return ["slice-target", "slice-forgetting"].forEach((id) => Plotly.purge(byId(id)));
  const { replay, atpp } = probe();
  const x = spaced(found.space.low, found.space.high, 41).map(Math.exp);
  const model = modelOf(state);
  const curve = (fit, name, tint, dash) => {
    const draws = fit.draws.map((params) => predictor(fit, params, model));
    const all = x.map((a) => draws.map((draw) => draw(replay, a)));
    const line = predictor(fit, fit.params, model);
    const edge = { type: "scatter", mode: "lines", x, line: { width: 0 }, hoverinfo: "skip" };
    return [
      { ...edge, y: all.map((values) => quantile(values, BAND[0])) },
      { ...edge, y: all.map((values) => quantile(values, BAND[1])), fill: "tonexty", fillcolor: faded(tint, 0.22) },
      {
        type: "scatter", mode: "lines", x, y: x.map((a) => line(replay, a)), line: { color: tint, width: 2.5, dash },
        name, hovertemplate: `${name}<br>ATPP %{x:.4g}<br>%{y:.4g} nats/token<extra></extra>`,
      },
    ];
  };
  const level = (y, tint, text, place = 0) => ({
    shape: { type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: tint, width: 1.2, dash: "dot" } },
    label: { xref: "paper", x: 0.01 + 0.16 * place, y, yanchor: "bottom", xanchor: "left", showarrow: false, text, font: { size: 11, color: tint } },
  });
  const here = { type: "line", yref: "paper", y0: 0, y1: 1, x0: atpp, x1: atpp, line: { color: colour("ink"), width: 1 } };
  const plot = (id, traces, levels, title) =>
    Plotly.react(id, traces, layout({
      xaxis: tokensAxis("ATPP (tokens/parameter)"),
      yaxis: { title: { text: title } },
      shapes: [here, ...levels.map((each) => each.shape)],
      annotations: levels.map((each) => each.label),
    }), SETTINGS);
  const fit = targetFit();
  const limit = found.point.limit;
  plot(
    "slice-target",
    curve(fit, `loss of ${fit.domain}`, colour("target"), "solid"),
    Number.isNaN(limit) ? [] : [level(limit, colour("target"), "limit")],
    `loss of ${fit.domain} (nats)`,
  );
  const others = forgettingFits();
  byId("slice-forgetting").hidden = others.length === 0;
  if (others.length)
    plot(
      "slice-forgetting",
      others.flatMap((each) => curve(each, `forgetting of ${each.domain}`, domainColour(each.domain), domainDash(each.domain))),
      others.filter((each) => state.forgetting[each.domain] !== null).map((each, i) => level(state.forgetting[each.domain], domainColour(each.domain), `limit ${each.domain}`, i)),
      "forgetting (nats)",
    );
  byId("slice-title").textContent = `Along tokens, at replay ${plain(replay, 3)}`;
  byId("slice-note").textContent =
    `Lines: the fitted laws${others.length ? ` (forgetting: ${others.map((each) => `${each.domain} ${{ dash: "dashed", dot: "dotted", dashdot: "dash-dotted", longdash: "long-dashed" }[domainDash(each.domain)]}`).join(", ")})` : ""}. ` +
    "Bands: 5th to 95th percentile of the draws. Vertical line: your point, or else the plan.";
  byId("slice-target").setAttribute("aria-label", `Target loss against ATPP at replay ${plain(replay, 3)}, with the band of the draws.`);
  byId("slice-forgetting").setAttribute("aria-label", `Forgetting against ATPP at replay ${plain(replay, 3)}, with the bands of the draws.`);
}

// Controls

function buildField(field) {
  const make = (kind, attributes) => {
    const made = document.createElement(kind);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    return made;
  };
  const ends = field.log ? [Math.log10(field.low), Math.log10(field.high)] : [field.low, field.high];
  const label = make("label", { for: `${field.id}-number`, id: `${field.id}-label` });
  label.textContent = field.label;
  const number = make("input", { type: "text", inputmode: "decimal", id: `${field.id}-number`, autocomplete: "off", "aria-describedby": `${field.id}-unit` });
  const unit = make("span", { class: "unit", id: `${field.id}-unit` });
  unit.textContent = field.unit;
  const slider = make("input", { type: "range", id: field.id, min: ends[0], max: ends[1], step: field.log ? 0.01 : field.step, "aria-labelledby": `${field.id}-label` });
  const row = make("div", { class: "row" });
  row.append(label, number, unit, slider);
  slider.addEventListener("input", () => {
    const value = Number(slider.value);
    setValue(field, (field.log ? Number((10 ** value).toPrecision(3)) : value) / (field.scale ?? 1));
  });
  number.addEventListener("change", () => {
    const value = Number(number.value.trim().replace(",", ".")) / (field.scale ?? 1);
    const fine = number.value.trim() !== "" && Number.isFinite(value) && accepted(field, value);
    number.toggleAttribute("aria-invalid", false);
    if (fine) setValue(field, value);
    else number.setAttribute("aria-invalid", "true");
  });
  Object.assign(field, { row, slider, number });
  if (field.optional) {
    const wrap = make("label", { class: "limited" });
    const limited = make("input", { type: "checkbox", id: `${field.id}-limited` });
    wrap.append(limited, " limited");
    limited.addEventListener("change", () => {
      const usual = field.fallback ?? flopsOf(state.n_params, state.max_atpp);
      setValue(field, limited.checked ? usual : null);
    });
    row.append(wrap);
    field.limited = limited;
  }
  byId(field.in).append(row);
}

// Typed numbers may go beyond the slider, but not where no law has a value.
function accepted(field, value) {
  if (field.id === "replay") return value >= asked.min_replay && value <= asked.max_replay;
  if (field.id === "level") return value > 0 && value <= 1;
  if (field.id.startsWith("forgetting_")) return true;
  return field.id === "within" ? value >= 0 : value > 0;
}

function option(value, text) {
  return Object.assign(document.createElement("option"), { value, textContent: text });
}

function start() {
  fields.forEach(buildField);
  byId("law").append(...targets.map((fit) => option(keyOf(fit), `${fit.law}, ${fit.protocol}`)));
  const domain = targets[0].domain;
  document.querySelectorAll(".domain").forEach((node) => (node.textContent = domain));
  byId("shown").append(
    option("target", `loss of ${domain}, nats/token`),
    ...domains.map((each) => option(each, `forgetting of ${each}, nats/token`)),
    option("share", "share of draws that keep every limit"),
  );
  byId("law").addEventListener("change", (event) => set({ law: event.target.value }));
  byId("mode").addEventListener("change", (event) => {
    if (event.target.value === "target" && Number.isFinite(found.point.limit)) state.target = Number(found.point.limit.toPrecision(5));
    set({ mode: event.target.value });
  });
  byId("shown").addEventListener("change", (event) => {
    state.shown = event.target.value;
    drawSoon(drawMap);
  });
  byId("reset").addEventListener("click", () => set(structuredClone(configured)));
  byId("inside").addEventListener("click", () => {
    const ranges = targetFit().ranges;
    const atpp = forgettingFits()[0]?.ranges.atpp;
    set({
      n_params: ranges.n_params?.[1] ?? state.n_params,
      ptpp: ranges.ptpp?.[1] ?? state.ptpp,
      max_atpp: atpp?.[1] ?? state.max_atpp,
      max_flops: null,
      replay: null,
      atpp: null,
    });
  });
  update();
  drawMap(); // now, since a click can be waited for only where there is a plot
  byId("map").on("plotly_click", (event) => {
    const { x, y } = event.points[0];
    set({ replay: x, atpp: y });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
}

function set(values) {
  Object.assign(state, values);
  update();
}

start();

// For tests and for the browser's console: a law's value by the number of its fit and of its draw.
window.planner = {
  state,
  found,
  set,
  settled: () =>
    toDraw.size === 0 &&
    (found.point.refused || Number.isNaN(found.point.limit) || found.robust !== null),
  value(fit, draw, model, replay, atpp) {
    const chosen = data.fits[fit];
    return predictor(chosen, draw === null ? chosen.params : chosen.draws[draw], model)(replay, atpp);
  },
};
