"use strict";

// The page itself: what is asked for (state), what follows from it, and how it is shown.

const data = JSON.parse(document.getElementById("data").textContent);
const SHARE_GRID = 41; // the same for shares of draws
const BAND = [0.05, 0.95]; // the quantiles of draws between which bands run
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

// A replay ratio; a search ends near 0, not on it.
function ratio(replay) {
  return String(Number(replay.toFixed(4)));
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
  const known = { ...model, zero_shot_loss: model[`zero_shot_${fit.domain}`] };
  return FORMULAS[fit.law](params, fit.reference, known);
}

// The checkpoint's loss before adaptation {value, source} by its name (base_loss, zero_shot_<domain>)
// and by Python's rule (ptpp/planning/request.py): stated for this checkpoint, measured, or forecast.
// A value that was stated is all there is without a table.
function lossBefore(name, { n_params, ptpp }) {
  const { given, measured, forecast, near } = data.losses[name];
  const far = (one, other, width) => Math.abs(Math.log(one / other)) / width;
  const away = ([n, p]) => Math.max(far(n, n_params, near[0]), far(p, ptpp, near[1]));
  const stated = given === null ? null : { value: given, source: "given" };
  if (stated && (forecast === null || away([asked.n_params, asked.ptpp]) <= 1)) return stated;
  const [nearest] = [...measured].sort((a, b) => away(a) - away(b));
  if (nearest && away(nearest) <= 1) return { value: nearest[2], source: "measured" };
  if (forecast === null) return { value: NaN, source: "unknown" };
  const tokens = FORMULAS[forecast.law](forecast.params, forecast.reference, { n_params });
  return { value: tokens(0, ptpp), source: "forecast" }; // of ptpp tokens per parameter
}

// What the laws know of the checkpoint: of a forgetting law, its domain's loss before adaptation.
function modelOf({ n_params, ptpp }) {
  const values = Object.keys(data.losses).map((name) => [name, lossBefore(name, { n_params, ptpp }).value]);
  return { n_params, ptpp, ...Object.fromEntries(values) };
}

// The search space at one set of parameters: pick(fit) is the fit's own or one of its draws.
function spaceOf(pick) {
  const model = modelOf(state);
  const flops = state.max_flops === null ? Infinity : state.max_flops / flopsOf(state.n_params, 1);
  const most = Math.min(state.max_atpp, flops);
  const limited = forgettingFits().filter((fit) => state.forgetting[fit.domain] !== null);
  return {
    low: Math.log(asked.min_atpp ?? most / ATPP_RANGE),
    high: Math.log(most),
    budget: most < state.max_atpp ? "max_flops" : "max_atpp",
    leastReplay: limited.length ? Math.max(asked.min_replay, asked.replay_floor) : asked.min_replay,
    mostReplay: asked.max_replay,
    floored: limited.length > 0 && asked.replay_floor > asked.min_replay,
    target: predictor(targetFit(), pick(targetFit()), model),
    forgetting: limited.map((fit) => ({
      domain: fit.domain,
      limit: state.forgetting[fit.domain],
      value: predictor(fit, pick(fit), model),
    })),
  };
}

// Row i of the target law's draws goes with row rows[i] of a forgetting law's.
function drawsOf() {
  const { pairs, draws } = targetFit();
  const numbers = Object.values(pairs)[0] ?? draws;
  return numbers.map((_, i) => spaceOf((fit) => fit.draws[fit.forgets ? pairs[fit.domain][i] : i]));
}

function loss() {
  return { target: state.mode === "target" ? state.target : null, within: state.within };
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
    : pointPlan(found.space, loss());
  finish(found.point);
  found.draws = found.empty ? [] : drawsOf();
  clearTimeout(waiting);
  if (!found.point.refused) waiting = setTimeout(count, PAUSE);
  show();
}

function* counting() {
  yield* giveLimits(found.draws, loss());
  return yield* shareMap(found.space, found.draws, SHARE_GRID);
}

// The count of draws takes a second or so; it goes on in short pieces, so that sliders stay quick.
function count() {
  const mine = waiting;
  const steps = counting();
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
  const { space, draws, shares } = found;
  found.robust = robustPlan(space, draws, state.level, shares);
  finish(found.robust);
}

function finish(point) {
  if (point.logAtpp === undefined) return;
  point.atpp = Math.exp(point.logAtpp);
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
  const inputs = modelOf(state);
  if (point.atpp !== undefined) {
    inputs.replay = point.replay;
    inputs.share = 1 - point.replay;
    inputs.atpp = point.atpp;
    inputs.adapt_tokens = point.atpp * state.n_params;
  }
  const names = { n_params: "N", ptpp: "PTPP", replay: "replay", share: "replay", atpp: "ATPP", adapt_tokens: "tokens", base_loss: "base loss", zero_shot_loss: "loss before adaptation" };
  const words = new Map();
  for (const fit of [targetFit(), ...forgettingFits()])
    for (const [name, [low, high]] of Object.entries(fit.ranges)) {
      const value = name === "zero_shot_loss" ? inputs[`zero_shot_${fit.domain}`] : inputs[name];
      const slack = 1e-9 * Math.max(Math.abs(low), Math.abs(high));
      if (value === undefined || value === null || (value >= low - slack && value <= high + slack)) continue;
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
    `replay ${ratio(point.replay)}, ATPP ${plain(point.atpp)}: ` +
    `${plain(point.atpp * state.n_params)} tokens, ${plain(flopsOf(state.n_params, point.atpp))} FLOPs`
  );
}

const WORDS = { target_loss: "target loss", max_atpp: "ATPP at most", max_flops: "compute", max_replay: "greatest replay", least_replay: "least replay of forgetting laws", min_atpp: "least ATPP" };

function describeBinding(point) {
  return point.binding.map((name) => WORDS[name] ?? name.replace("forgetting_", "forgetting of ")).join(", ");
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
    const bound = describeBinding(point);
    say("point-verdict", "Cheapest plan:", `${describe(point)}.${bound ? ` What binds: ${bound}.` : ""}`);
  } else if (Number.isNaN(point.limit))
    say("point-verdict", "No point keeps the forgetting limits.", `The nearest misses by ${plain(point.shortfall, 3)} nats/token, at ${describe(point)}. In the way: ${describeBinding(point)}.`);
  else
    say("point-verdict", "No point keeps every limit.", `The nearest misses by ${plain(point.shortfall, 3)} nats/token, at ${describe(point)}. In the way: ${describeBinding(point)}.`);
  const title = `Robust plan (${percent(state.level)} of draws):`;
  if (point.refused) say("robust-verdict", title, "none.");
  else if (robust === null) say("robust-verdict", title, "counting draws …");
  else if (robust.feasible) {
    const more = point.feasible ? robust.atpp / point.atpp : NaN;
    say("robust-verdict", title, `${describe(robust)}${Number.isNaN(more) ? "" : ` (${plain(more, 3)} times the compute of the cheapest)`}.`);
  } else if (robust.share === 0) say("robust-verdict", title, "none. No draw keeps every limit at once anywhere.");
  else
    say("robust-verdict", title, `none. At best ${percent(robust.share)} of the draws keep every limit at once, near replay ${ratio(robust.replay)}, ATPP ${plain(robust.atpp, 3)}.`);
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
  if (fit.drawn.length) notes.push(`The measured rows do not identify ${fit.drawn.join(", ")}: every draw takes a value at random.`);
  if (fit.at_bounds.length) notes.push(`At a bound of the fit: ${fit.at_bounds.join(", ")}.`);
  if (fit.ranges.base_loss) {
    const { value, source } = lossBefore("base_loss", state);
    notes.push(`Base loss before adaptation: ${plain(value)} nats/token (${source}).`);
  }
  for (const each of forgettingFits().filter((one) => one.ranges.zero_shot_loss)) {
    const { value, source } = lossBefore(`zero_shot_${each.domain}`, state);
    notes.push(`Loss of ${each.domain} before adaptation: ${plain(value)} nats/token (${source}).`);
  }
  if (asked.replay_reason && found.space.forgetting.length) notes.push(`Searched: ${asked.replay_reason}.`);
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
    ["Replay", (point) => [ratio(point.replay)]],
    ["ATPP, tokens/parameter", (point) => [plain(point.atpp)]],
    ["Tokens", (point) => [plain(point.atpp * state.n_params)]],
    ["Compute, FLOPs", (point) => [plain(flopsOf(state.n_params, point.atpp))]],
    [`Loss of ${targetFit().domain}, nats/token`, (_, values) => measured(values.target, found.point.limit)],
    ...forgettingFits().map((fit, i) => [
      `Forgetting of ${fit.domain}, nats/token`,
      (_, values) => measured(values.forgetting[i], state.forgetting[fit.domain]),
    ]),
  ];
  if (found.shares !== null)
    rows.push([
      "Draws that keep every limit",
      (point) => [percent(shareOfDraws(found.draws, point.replay, point.logAtpp))],
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
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  addEventListener("resize", () => [drawMap, drawSlices].forEach(drawSoon));
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
    toDraw.size === 0 && (found.point.refused || found.robust !== null),
  value(fit, draw, model, replay, atpp) {
    const chosen = data.fits[fit];
    return predictor(chosen, draw === null ? chosen.params : chosen.draws[draw], model)(replay, atpp);
  },
};
