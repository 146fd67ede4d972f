"use strict";

// The page itself: what is asked for (state), what follows from it, and how it is said.

const data = JSON.parse(document.getElementById("data").textContent);
const SHARE_GRID = 41; // points of the map of shares along each axis
const BAND = [0.05, 0.95]; // the quantiles of draws between which bands run
const PAUSE = 150; // milliseconds without a change before draws are counted
const byId = (id) => document.getElementById(id);
const make = (kind, attributes = {}, ...children) => {
  const made = document.createElement(kind);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  made.append(...children);
  return made;
};
const asked = data.request;
const targets = data.fits.filter((fit) => !fit.forgets);
const keyOf = (fit) => `${fit.law}.${fit.protocol}`;
const targetFit = () => targets.find((fit) => keyOf(fit) === state.law);
const domains = [...new Set([...Object.keys(asked.forgetting), ...data.fits.filter((fit) => fit.forgets).map((fit) => fit.domain)])];
const forgettingFits = () =>
  domains.flatMap((domain) => data.fits.filter((fit) => fit.forgets && fit.domain === domain && fit.protocol === targetFit().protocol));

// Numbers as text, and back

function plain(value, digits = 4) {
  if (value === null || Number.isNaN(value)) return "none";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(digits - 2).replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

// Two digits, and thousands as k, M, B and T.
function short(value, digits = 2) {
  const [unit, scale] = [["T", 1e12], ["B", 1e9], ["M", 1e6], ["k", 1e3]].find(([, s]) => Math.abs(value) >= s) ?? ["", 1];
  if (Math.abs(value) >= 1e15) return plain(value, digits + 1);
  return `${Number((value / scale).toPrecision(digits))}${unit && ` ${unit}`}`;
}

// A number as people write it: 7B, 1.5T, 0,5.
function parse(text) {
  const [, digits, unit] = /^([-+\d.,e]+)\s*([kmbgt]?)$/i.exec(text.trim()) ?? [];
  const scale = { k: 1e3, m: 1e6, b: 1e9, g: 1e9, t: 1e12 }[unit?.toLowerCase()] ?? 1;
  return digits === undefined ? NaN : Number(digits.replace(",", ".")) * scale;
}

const percent = (share, digits = 3) => `${Number((100 * share).toPrecision(digits))} %`;
const ratio = (replay) => percent(Number(replay.toFixed(4)), 4); // a search ends near 0, not on it
const inTen = (share) => `${Number((10 * share).toFixed(share > 0.94 && share < 1 ? 1 : 0))} of 10`;

// What is asked for

const configured = {
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
  base_loss: null, // your own measurement of it
  replay: null, // your own point; null: the plan
  atpp: null,
  shown: "target",
};
const state = structuredClone(configured);

// One slider and one number each. `log`: the slider moves through powers of ten. `optional`: the
// limit may be absent, and `fallback` is what it is when it is switched on.
const nats = { unit: "nats/token", low: -0.2, high: 2, step: 0.01 };
const fields = [
  { id: "n_params", in: "first", label: "Model size N", unit: "parameters", log: true, low: 1e4, high: 1e12, tip: "Parameters of the checkpoint; 7B is understood." },
  { id: "forgetting", in: "first", label: "Forgetting at most", ...nats, tip: "How much loss of every base domain may be given up." },
  { id: "within", in: "first", label: "Above the best reachable loss", unit: "nats/token", log: true, low: 1e-3, high: 2, tip: "How near the least target loss that the other limits allow." },
  { id: "target", in: "first", label: "Target loss at most", unit: "nats/token", low: 0.05, high: 12, step: 0.01, tip: "Loss of the target domain after adaptation." },
  { id: "ptpp", in: "model", label: "Pre-training, PTPP", unit: "tokens/parameter", log: true, low: 1, high: 1e4, tip: "Tokens per parameter that the checkpoint was pre-trained on." },
  ...(data.losses.base_loss ? [{ id: "base_loss", in: "model", label: "Base loss, if you measured it", unit: "nats/token", low: 0.2, high: 8, step: 0.01, optional: true, word: "known", fallback: null, tip: "The checkpoint's mean loss on the base domains before adaptation: one evaluation." }] : []),
  ...domains.map((domain) => ({ id: `forgetting_${domain}`, in: "limits", label: `Forgetting of ${domain} at most`, ...nats, optional: true, fallback: 0.5, tip: `Loss of ${domain} after adaptation minus before.` })),
  { id: "max_atpp", in: "budget", label: "Tokens, ATPP at most", unit: "tokens/parameter", log: true, low: 0.01, high: 1e4, tip: "Adaptation tokens per parameter, replay included." },
  { id: "max_flops", in: "budget", label: "Compute at most", unit: "FLOPs", log: true, low: 1e9, high: 1e27, optional: true, fallback: null, tip: "6 N times the tokens." },
  { id: "level", in: "budget", label: "Share of draws that keep the limits", unit: "%", low: 50, high: 99, step: 1, scale: 100, tip: "How sure a plan has to be." },
  { id: "replay", in: "probe", label: "Replay", unit: "%", low: 0, high: 100 * asked.max_replay, step: 0.5, scale: 100, tip: "Share of the tokens that is taken from the base domains." },
  { id: "atpp", in: "probe", label: "ATPP", unit: "tokens/parameter", log: true, low: 0.01, high: 1e4, tip: "Adaptation tokens per parameter." },
];
const domainOf = (field) => (field.id.startsWith("forgetting_") ? field.id.slice(11) : null);

function valueOf(field) {
  if (domainOf(field)) return state.forgetting[domainOf(field)];
  if (field.id === "forgetting") return Object.values(state.forgetting).reduce((most, limit) => (limit === null ? most : Math.max(limit, most ?? limit)), null);
  return field.in === "probe" ? probe()[field.id] : state[field.id];
}

function setValue(field, value) {
  const some = field.id === "forgetting" ? domains : [domainOf(field)].filter(Boolean);
  if (some.length) some.forEach((domain) => (state.forgetting[domain] = value));
  else if (field.in === "probe") Object.assign(state, probe(), { [field.id]: value });
  else state[field.id] = value;
  field.in === "probe" ? show() : update();
}

// Your own point, or else the best plan that there is.
function probe() {
  const { point, robust } = found;
  const at = robust?.feasible ? robust : point.refused ? { replay: 0, atpp: asked.max_atpp } : point;
  return { replay: state.replay ?? at.replay, atpp: state.atpp ?? at.atpp };
}

// What follows: forecasts

// The checkpoint's loss before adaptation {value, source, spread} by its name (base_loss,
// zero_shot_<domain>) and by Python's rule (ptpp/planning/request.py): stated for this checkpoint,
// measured, or forecast. `spread`: standard deviation of a forecast, infinite where nothing is known
// of it.
function lossBefore(name, { n_params, ptpp }) {
  const { given, measured, forecast, near, misfit } = data.losses[name];
  if (name === "base_loss" && state.base_loss !== null) return { value: state.base_loss, source: "given", spread: 0 };
  const far = (one, other, width) => Math.abs(Math.log(one / other)) / width;
  const away = ([n, p]) => Math.max(far(n, n_params, near[0]), far(p, ptpp, near[1]));
  if (given !== null && away([asked.n_params, asked.ptpp]) <= 1) return { value: given, source: "given", spread: 0 };
  const [nearest] = [...measured].sort((a, b) => away(a) - away(b));
  if (nearest && away(nearest) <= 1) return { value: nearest[2], source: "measured", spread: 0 };
  const tokens = FORMULAS[forecast.law](forecast.params, forecast.reference, { n_params });
  const known = { value: tokens(0, ptpp), source: "forecast", spread: Infinity }; // of ptpp tokens per parameter
  if (misfit) {
    const { logLoss, spread } = kriged(data.losses[name], { n_params, ptpp }, SLOPES[forecast.law](forecast.params, forecast.reference, { n_params }));
    known.spread = Math.exp(logLoss(0, Math.log(ptpp))) * Math.sqrt(spread(0, Math.log(ptpp)) ** 2 + misfit.noise);
  }
  return known;
}

// Whether anything is known of the errors of the base loss that the target law reads.
const isSure = () => !targetFit().ranges.base_loss || Number.isFinite(lossBefore("base_loss", state).spread);

// What a fit's law knows of the checkpoint.
function modelOf({ n_params, ptpp }, fit) {
  const known = { n_params, ptpp };
  if (data.losses.base_loss) known.base_loss = lossBefore("base_loss", known).value;
  if (data.losses[`zero_shot_${fit.domain}`]) known.zero_shot_loss = lossBefore(`zero_shot_${fit.domain}`, known).value;
  return known;
}

const predictor = (fit, params, model) => FORMULAS[fit.law](params, fit.reference, model);

// The kriged forecast of a checkpoint by a fit.
function forecastOf(fit, model) {
  const law = SLOPES[fit.law](fit.params, fit.reference, model);
  const offset = fit.forgets ? model.zero_shot_loss : 0;
  const loss = (replay, atpp) => law(replay, atpp).map((value, i) => (i ? value : value + offset));
  const { logLoss, spread } = kriged(fit, model, loss);
  const error = fit.ranges.base_loss ? lossBefore("base_loss", model).spread : 0;
  if (!(error > 0 && error < Infinity)) return { logLoss, spread, offset };
  const [less, more] = [-BASE_STEP, BASE_STEP].map((step) => SLOPES[fit.law](fit.params, fit.reference, { ...model, base_loss: model.base_loss + step }));
  const slope = (replay, atpp) => Math.log(more(replay, atpp)[0] / less(replay, atpp)[0]) / (2 * BASE_STEP);
  return { logLoss, spread: (replay, logAtpp) => Math.hypot(spread(replay, logAtpp), error * slope(replay, Math.exp(logAtpp))), offset };
}

// The splines of a kriged forecast over a range, kept until others were needed. That of the spread
// takes longer and is made by counting().
const surfaces = new Map();

function surfaceOf(fit, model, range) {
  const key = JSON.stringify([data.fits.indexOf(fit), model, range]);
  if (!surfaces.has(key)) {
    if (surfaces.size > 24) surfaces.clear();
    const forecast = forecastOf(fit, model);
    surfaces.set(key, { ...forecast, range, logSpline: finish(splineOf(forecast.logLoss, range)), spreadSpline: null });
  }
  return surfaces.get(key);
}

// One law in a space (see search.js). A kriged one's draws are its forecast's quantiles.
function lawOf(fit, place, model, range, draws) {
  const name = fit.forgets ? `forgetting_${fit.domain}` : "target_loss";
  const at = predictor(fit, fit.params, model);
  const law = { fit, name, domain: fit.domain, limit: fit.forgets ? (state.forgetting[fit.domain] ?? NaN) : NaN };
  law.alone = (replay, logAtpp) => at(replay, Math.exp(logAtpp));
  if (fit.misfit) {
    const surface = surfaceOf(fit, model, range);
    const { logLoss, spread, offset, logSpline } = surface;
    const z = Float64Array.from(data.deviates[draws][place]);
    const fill = (mean, sd, out) => z.forEach((deviate, i) => (out[i] = Math.exp(mean + deviate * sd) - offset));
    law.surface = surface;
    law.value = (replay, logAtpp) => Math.exp(logSpline(replay, logAtpp)) - offset;
    law.exact = (replay, logAtpp) => Math.exp(logLoss(replay, logAtpp)) - offset;
    law.draw = (i) => (replay, logAtpp) => Math.exp(logSpline(replay, logAtpp) + z[i] * surface.spreadSpline(replay, logAtpp)) - offset;
    law.fill = (replay, logAtpp, out) => fill(logSpline(replay, logAtpp), surface.spreadSpline(replay, logAtpp), out);
    law.exactFill = (replay, logAtpp, out) => fill(logLoss(replay, logAtpp), spread(replay, logAtpp), out);
    return law;
  }
  const rows = targetFit().pairs[fit.forgets ? fit.domain : ""];
  const each = rows.map((row) => predictor(fit, fit.draws[row], model));
  law.value = law.exact = law.alone;
  law.draw = (i) => (replay, logAtpp) => each[i](replay, Math.exp(logAtpp));
  law.fill = law.exactFill = (replay, logAtpp, out) => each.forEach((draw, i) => (out[i] = draw(replay, Math.exp(logAtpp))));
  return law;
}

// What is searched: the limited laws; `shown` has every forgetting law.
function spaceOf(stretched = 1) {
  const fits = forgettingFits();
  const limited = fits.filter((fit) => state.forgetting[fit.domain] !== null);
  const flops = state.max_flops === null ? Infinity : state.max_flops / flopsOf(state.n_params, 1);
  const most = Math.min(state.max_atpp, flops);
  const [low, high] = [Math.log(asked.min_atpp ?? most / ATPP_RANGE), Math.log(most * stretched)];
  const leastReplay = limited.length || asked.replay_floor === asked.max_replay ? asked.replay_floor : 0;
  const drawn = [targetFit(), ...fits].filter((fit) => !fit.misfit);
  const draws = drawn.length ? Object.values(targetFit().pairs)[0].length : data.draws;
  const space = { low, high, budget: most < state.max_atpp ? "max_flops" : "max_atpp", leastReplay, mostReplay: asked.max_replay, draws };
  if (!(low < high)) return { ...space, empty: true, laws: [], shown: [] };
  const ordered = [targetFit(), ...limited, ...fits.filter((fit) => !limited.includes(fit))];
  const rangeFrom = (least) => ({ first: stretch(least), last: Math.max(stretch(asked.max_replay), stretch(least) + NARROW), low, high });
  const ranges = [rangeFrom(leastReplay), rangeFrom(asked.replay_floor)];
  if (leastReplay === asked.replay_floor) ranges[1] = ranges[0];
  space.shown = ordered.map((fit, place) => lawOf(fit, place, modelOf(state, fit), ranges[Number(fit.forgets)], draws));
  return { ...space, laws: space.shown.slice(0, 1 + limited.length) };
}

// The splines of the spread, without which there are no draws.
function* spreading(space) {
  for (const { surface } of space.shown) if (surface) surface.spreadSpline ??= yield* splineOf(surface.spread, surface.range);
}

const found = { space: null, point: null, limits: null, shares: null, robust: null, relaxed: null };
let waiting = 0; // the timer of the count to come; a newer one makes an older one stop
let eased = 0; // how often the page loosened its first question to find a robust plan

const loss = () => ({ target: state.mode === "target" ? state.target : null, within: state.within });
const placed = (point) => (point.logAtpp === undefined ? point : Object.assign(point, { atpp: Math.exp(point.logAtpp) }));

function update() {
  const space = spaceOf();
  const point = space.empty ? { refused: true, feasible: false, limit: NaN } : placed(pointPlan(space, loss()));
  Object.assign(found, { space, point, limits: null, shares: null, robust: null, relaxed: null, ready: false });
  clearTimeout(waiting);
  found.sure = isSure();
  if (!point.refused && found.sure) waiting = setTimeout(count, PAUSE);
  show();
}

function* counting() {
  const { space } = found;
  yield* spreading(space);
  found.ready = true;
  found.limits = yield* drawLimits(space, loss());
  const robust = placed(yield* robustPlan(space, found.limits, state.level));
  found.point.share = shareAt(space, found.limits, found.point.replay, found.point.logAtpp, "exactFill");
  found.robust = robust;
  show();
  found.shares = yield* shareMap(space, found.limits, SHARE_GRID);
  found.relaxed = robust.feasible ? [] : yield* relaxing(space);
}

// What would make a robust plan feasible if all other limits stay: [{limit, asked, needed}].
function* relaxing(space) {
  const names = { target_loss: state.mode === "target" ? state.target : state.within };
  const result = [];
  for (const [place, law] of space.laws.entries()) {
    const best = yield* leastValue(space, place, found.limits, COARSE, state.level);
    const now = names[law.name] ?? law.limit;
    result.push({ limit: law.name, asked: now, needed: best.allowed ? now + best.cost : NaN });
  }
  const far = spaceOf(ATPP_RANGE);
  yield* spreading(far);
  const best = yield* robustPlan(far, found.limits, state.level);
  const unit = space.budget === "max_flops" ? flopsOf(state.n_params, 1) : 1;
  return [...result, { limit: space.budget, asked: unit * Math.exp(space.high), needed: best.feasible ? unit * Math.exp(best.logAtpp) : NaN }];
}

// The count of draws takes a second or so; it goes on in short pieces, so that sliders stay quick.
function count() {
  const mine = waiting;
  const steps = counting();
  const piece = () => {
    if (mine !== waiting) return;
    for (const until = performance.now() + 30; performance.now() < until; ) {
      if (!steps.next().done) continue;
      const ease = eased-- > 0 && !found.robust.feasible && state.mode === "within" && state.within < 1;
      if (!ease) eased = 0;
      return ease ? set({ within: 2 * state.within }) : show();
    }
    setTimeout(piece, 0);
  };
  piece();
}

// Values at a point: the forecasts, with the band of their draws once these are known.
function valuesAt(replay, logAtpp) {
  const out = new Float64Array(found.space.draws);
  return found.space.shown.map((law) => {
    if (found.ready) law.exactFill(replay, logAtpp, out);
    const [low, high] = found.ready ? BAND.map((share) => quantile(out, share)) : [NaN, NaN];
    return { value: law.exact(replay, logAtpp), low, high };
  });
}

const NAMES = { n_params: "N", ptpp: "PTPP", replay: "replay", share: "replay", atpp: "ATPP", adapt_tokens: "the number of tokens", base_loss: "the base loss before adaptation", zero_shot_loss: "the loss before adaptation" };

// Inputs of the laws beyond what their fits were measured on: {text, factor} by name, in words.
function beyond(point) {
  const words = new Map();
  for (const fit of [targetFit(), ...forgettingFits()]) {
    const inputs = modelOf(state, fit);
    if (point.atpp !== undefined) Object.assign(inputs, { replay: point.replay, share: 1 - point.replay, atpp: point.atpp, adapt_tokens: point.atpp * state.n_params });
    for (const [name, [low, high]] of Object.entries(fit.ranges)) {
      const value = inputs[name];
      const slack = 1e-9 * Math.max(Math.abs(low), Math.abs(high));
      if (value === undefined || (value >= low - slack && value <= high + slack)) continue;
      const [from, to, at] = name === "share" ? [1 - high, 1 - low, 1 - value] : [low, high, value];
      const factor = Math.max(at / to, from / at);
      const measured = `(${short(at, 3)}; measured ${short(from, 3)} to ${short(to, 3)})`;
      const spoken = name === "zero_shot_loss" ? `the loss of ${fit.domain} before adaptation` : NAMES[name];
      const how = at > to ? `${short(factor)} × the largest measured` : `${short(1 / factor)} × the smallest measured`;
      words.set(spoken, { text: `${spoken} is ${how} ${measured}`, factor });
    }
  }
  return [...words.values()];
}

// How it is said

function show() {
  showControls();
  showVerdict();
  showTable();
  [drawMap, drawSlices, drawFront].forEach(drawSoon);
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

// Text in which **words** are strong.
function say(id, text) {
  byId(id).replaceChildren(...text.split("**").map((part, i) => (i % 2 ? make("strong", {}, part) : part)));
}

const WORDS = { target_loss: "target loss", max_atpp: "the most ATPP", max_flops: "compute", max_replay: "the most replay", min_atpp: "the least ATPP", least_replay: "the least replay" };
const wordOf = (name) => WORDS[name] ?? name.replace("forgetting_", "forgetting of ");

// What one limit, relaxed alone, would have to be.
function cureOf({ limit, asked: now, needed }) {
  const near = limit === "target_loss" && state.mode === "within" ? " above the best" : "";
  return `${wordOf(limit)} ${plain(needed, 3)}${near} instead of ${plain(now, 3)}`;
}

// What a point costs, two digits.
function costOf(point) {
  const flops = flopsOf(state.n_params, point.atpp);
  const hours = flops / GPU_FLOPS / 3600;
  return `${short(point.atpp * state.n_params)} tokens, ${plain(flops, 3)} FLOPs${hours >= 0.01 ? `, ${short(hours)} H100-hours` : ""}`;
}

const describe = (point) => `give **${percent(point.replay, 2)}** of the tokens to replay and read **${short(point.atpp)}** tokens per parameter (${costOf(point)})`;

function showVerdict() {
  const { point, robust, space, relaxed } = found;
  const limits = space.laws.length > 1 ? "every limit" : "the target limit";
  const bound = point.binding?.length ? ` What binds: ${point.binding.map(wordOf).join(", ")}.` : "";
  let lead = "";
  let second = "";
  if (space.empty) lead = `**No plan.** The budget ends at ATPP ${plain(Math.exp(space.high))}; the search begins at ${plain(Math.exp(space.low))}.`;
  else if (point.refused) lead = "**No plan.** By this law target loss rises with tokens here, and a plan needs a law whose loss falls.";
  else {
    const chance = point.share !== undefined ? ` It keeps ${limits} in ${inTen(point.share)} draws.` : "";
    second = point.feasible
      ? `Cheapest plan, by the forecast alone: ${describe(point)}.${chance}${bound}`
      : `No point keeps ${Number.isNaN(point.limit) ? "the forgetting limits" : "every limit"} even by the forecast alone. The nearest misses by ${plain(point.shortfall, 3)} nats/token: ${describe(point)}. In the way: ${point.binding.map(wordOf).join(", ")}.`;
    const asked_ = `${inTen(state.level)} draws`;
    if (!found.sure) lead = `**Measure the checkpoint's base loss first.** It is forecast from tiny models, which cannot foresee it, so nothing says how sure a plan is. By the forecast alone: ${describe(point)}.`;
    else if (robust === null) lead = `Robust plan: counting draws …`;
    else if (robust.feasible) lead = `Robust plan: ${describe(robust)}: keeps ${limits} in **${inTen(robust.all)}** draws.`;
    else {
      const cures = (relaxed ?? []).filter((one) => Number.isFinite(one.needed));
      lead = `**No plan keeps ${limits} in ${asked_}.** The least bad, ${describe(robust)}, keeps them in ${inTen(robust.all)}.`;
      if (relaxed) lead += cures.length ? ` Each of these alone would do: ${cures.map(cureOf).join("; ")}.` : " No single limit, relaxed alone, would do.";
    }
  }
  say("robust-verdict", lead);
  say("point-verdict", second);
  const best = robust ?? point;
  const known = !point.refused && best.atpp !== undefined;
  const values = known ? valuesAt(best.replay, best.logAtpp) : [];
  const tiles = known ? [["replay", percent(best.replay, 2)], ["tokens per parameter", short(best.atpp)], ...space.shown.map((law, i) => [law.fit.forgets ? `forgetting of ${law.domain}` : `loss of ${law.domain}`, plain(Number(values[i].value.toFixed(2)))])] : [];
  byId("tiles").replaceChildren(...tiles.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  const outside = beyond(best);
  const worst = Math.max(1, ...outside.map((one) => one.factor));
  const grade = worst > 10 ? 3 : worst > 2 ? 2 : 1;
  byId("extrapolation").hidden = outside.length === 0;
  byId("extrapolation").className = `grade-${grade}`;
  const advice = ["Intervals widen there.", "Take the plan as a rough guide.", "Take the plan as a guess: nothing of that kind was measured. Measure one run before you rely on it."];
  say("extrapolation", `**${["Beyond", "Far beyond", "Very far beyond"][grade - 1]} what was measured:** ${outside.map((one) => one.text).join("; ")}. ${advice[grade - 1]}`);
}

function showControls() {
  for (const field of fields) {
    const value = valueOf(field);
    const { row, slider, number, limited } = field;
    row.hidden = ((field.id === "within" || field.id === "target") && field.id !== state.mode) || (field.id === "forgetting" && !domains.length);
    const off = value === null;
    if (limited) limited.checked = !off;
    slider.disabled = number.disabled = off;
    if (off) number.value = "";
    slider.setAttribute("aria-valuetext", off ? "no limit" : `${plain(value * (field.scale ?? 1))} ${field.unit}`);
    if (off) continue;
    const scaled = value * (field.scale ?? 1);
    slider.value = field.log ? Math.log10(scaled) : scaled;
    if (document.activeElement !== number) number.value = field.id === "n_params" ? short(scaled, 4) : plain(scaled, 5);
    number.removeAttribute("aria-invalid");
  }
  byId("law").value = state.law;
  byId("mode").value = state.mode;
  byId("shown").value = state.shown;
  const fit = targetFit();
  const notes = [];
  if (fit.error !== null) notes.push(`Held-out error ${percent(fit.error, 2)}.`);
  if (fit.drawn.length) notes.push(`The measured rows do not identify ${fit.drawn.join(", ")}: every draw takes a value at random.`);
  if (fit.at_bounds.length) notes.push(`At a bound of the fit: ${fit.at_bounds.join(", ")}.`);
  for (const name of Object.keys(data.losses)) {
    const domain = name.replace("zero_shot_", "");
    if (name === "base_loss" ? !fit.ranges.base_loss : !forgettingFits().some((one) => one.domain === domain)) continue;
    const { value, source } = lossBefore(name, state);
    notes.push(`${name === "base_loss" ? "Base loss" : `Loss of ${domain}`} before adaptation: ${plain(value)} nats/token (${source}).`);
  }
  if (asked.replay_reason && found.space.laws.length > 1) notes.push(`Searched: ${asked.replay_reason}.`);
  byId("law-note").textContent = [`${fit.title}, ${fit.misfit ? "corrected by its misfit" : `${fit.draws.length} draws`}.`, ...notes].join(" ");
  byId("equations").replaceChildren(...[fit, ...forgettingFits().slice(0, 1)].map((each) => make("div", {}, `${each.law}: ${each.equation}`)));
}

function showTable() {
  const { point, robust, space } = found;
  const columns = [];
  if (robust?.feasible) columns.push(["Robust plan", robust]);
  if (!point.refused) columns.push([point.feasible ? "Cheapest plan" : "Nearest miss", point]);
  if (state.replay !== null && !space.empty) columns.push(["Your point", { ...probe(), logAtpp: Math.log(probe().atpp) }]);
  for (const column of columns) {
    const at = column[1];
    column.push(valuesAt(at.replay, at.logAtpp), found.limits && shareAt(space, found.limits, at.replay, at.logAtpp, "exactFill"));
  }
  const rows = [
    ["Replay", ({ replay }) => [ratio(replay)]],
    ["ATPP, tokens/parameter", ({ atpp }) => [plain(atpp)]],
    ["Tokens", ({ atpp }) => [plain(atpp * state.n_params)]],
    ["Compute, FLOPs", ({ atpp }) => [plain(flopsOf(state.n_params, atpp))]],
    ...space.shown.map((law, i) => [
      law.fit.forgets ? `Forgetting of ${law.domain}, nats/token` : `Loss of ${law.domain}, nats/token`,
      (_, values) => measured(values[i], i ? law.limit : point.limit),
    ]),
    ...(found.limits ? [["Draws that keep every limit", (_, __, share) => [percent(share)]]] : []),
  ];
  const head = make("tr", {}, ...["", ...columns.map(([name]) => name)].map((name) => make("th", { scope: "col" }, name)));
  const body = rows.map(([name, text]) =>
    make("tr", {}, make("th", { scope: "row" }, name), ...columns.map(([, at, values, share]) => {
      const [value, below, broken] = text(at, values, share);
      return make("td", broken ? { class: "broken" } : {}, value, ...(below ? [make("small", {}, below)] : []));
    })),
  );
  byId("numbers").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}

function measured({ value, low, high }, limit) {
  const broken = value - limit > BINDING; // closer than that it is met with equality
  const band = Number.isNaN(low) ? "" : `${plain(low, 3)} … ${plain(high, 3)}`;
  return [plain(value) + (broken ? " (too much)" : ""), `${band}${Number.isNaN(limit) ? "" : `, limit ${plain(limit)}`}`, broken];
}

// Controls

function buildField(field) {
  const ends = field.log ? [Math.log10(field.low), Math.log10(field.high)] : [field.low, field.high];
  const label = make("label", { for: `${field.id}-number`, id: `${field.id}-label`, title: field.tip }, field.label);
  const number = make("input", { type: "text", inputmode: "text", id: `${field.id}-number`, autocomplete: "off", "aria-describedby": `${field.id}-unit` });
  const unit = make("span", { class: "unit", id: `${field.id}-unit` }, field.unit);
  const slider = make("input", { type: "range", id: field.id, min: ends[0], max: ends[1], step: field.log ? 0.01 : field.step, "aria-labelledby": `${field.id}-label` });
  const row = make("div", { class: "row" }, label, number, unit, slider);
  slider.addEventListener("input", () => {
    const value = Number(slider.value);
    setValue(field, (field.log ? Number((10 ** value).toPrecision(3)) : value) / (field.scale ?? 1));
  });
  number.addEventListener("change", () => {
    const value = parse(number.value) / (field.scale ?? 1);
    number.removeAttribute("aria-invalid");
    if (Number.isFinite(value) && accepted(field, value)) setValue(field, value);
    else number.setAttribute("aria-invalid", "true");
  });
  Object.assign(field, { row, slider, number });
  if (field.optional) {
    const limited = make("input", { type: "checkbox", id: `${field.id}-limited` });
    limited.addEventListener("change", () => setValue(field, limited.checked ? usual() : null));
    const usual = () => field.fallback ?? (field.id === "base_loss" ? lossBefore("base_loss", state).value : flopsOf(state.n_params, state.max_atpp));
    row.append(make("label", { class: "limited" }, limited, ` ${field.word ?? "limited"}`));
    field.limited = limited;
  }
  byId(field.in).append(row);
}

// Typed numbers may go beyond the slider, but not where no law has a value.
function accepted(field, value) {
  if (field.id === "replay") return value >= 0 && value <= asked.max_replay;
  if (field.id === "level") return value > 0 && value <= 1;
  if (field.id.startsWith("forgetting")) return true;
  return field.id === "within" ? value >= 0 : value > 0;
}

// The checkpoint within what the target law was fitted to, or as it is.
function inside() {
  const within = (name) => Math.min(Math.max(state[name], targetFit().ranges[name]?.[0] ?? 0), targetFit().ranges[name]?.[1] ?? Infinity);
  return { n_params: within("n_params"), ptpp: within("ptpp"), max_flops: null, replay: null, atpp: null };
}

// What is asked for as text: a link, a command line, a section of the configuration.
function asText(kind) {
  const limits = Object.entries(state.forgetting).filter(([, limit]) => limit !== null);
  const goal = state.mode === "target" ? ["target_loss", state.target] : ["target_within", state.within];
  const [law] = state.law.split(".");
  if (kind === "link") return `${location.href.split("#")[0]}#${encodeURIComponent(JSON.stringify(state))}`;
  const numbers = { n_params: state.n_params, ptpp: state.ptpp, [goal[0]]: goal[1], min_atpp: asked.min_atpp, max_atpp: state.max_atpp, max_replay: asked.max_replay, max_flops: state.max_flops };
  const given = Object.entries({ ...numbers, confidence: state.level }).filter(([, value]) => value !== null);
  if (kind === "yaml") return ["plan:", `  law: ${law}`, ...given.map(([name, value]) => `  ${name}: ${value}`), `  forgetting: {${limits.map(([d, limit]) => `${d}: ${limit}`).join(", ")}}`].join("\n");
  const flags = given.map(([name, value]) => `--${name.replace("_", "-")} ${value}`);
  return ["ptpp plan TABLE.csv", `--target ${targetFit().domain}`, `--law ${law}`, ...flags, ...limits.map(([d, limit]) => `--limit ${d}=${limit}`)].join(" ");
}

function copy(kind) {
  const text = asText(kind);
  byId("copied").hidden = false;
  byId("copied").value = text;
  byId("copied").select();
  navigator.clipboard?.writeText(text).catch(() => {});
}

function save(name, type, content) {
  const href = URL.createObjectURL(new Blob([content], { type }));
  make("a", { download: name, href }).click();
  URL.revokeObjectURL(href);
}

// The map's grid as a table.
function asTable() {
  const { space, shares } = found;
  const head = ["replay", "atpp", ...space.shown.map((law) => law.name), "share_of_draws"];
  const lines = (shares?.logAtpp ?? []).flatMap((logAtpp, i) =>
    shares.replay.map((replay, j) => [replay, Math.exp(logAtpp), ...space.shown.map((law) => law.value(replay, logAtpp)), shares.all[i][j]].join(",")),
  );
  return [head.join(","), ...lines].join("\n") + "\n";
}

const option = (value, text) => Object.assign(make("option", {}, text), { value });

function start() {
  fields.forEach(buildField);
  byId("law").append(...targets.map((fit) => option(keyOf(fit), fit.called)));
  const domain = targets[0].domain;
  document.querySelectorAll(".domain").forEach((node) => (node.textContent = domain));
  byId("shown").append(option("target", `loss of ${domain}`), ...domains.map((each) => option(each, `forgetting of ${each}`)), option("share", "share of draws"));
  byId("law").addEventListener("change", (event) => set({ law: event.target.value }));
  byId("mode").addEventListener("change", (event) => {
    if (event.target.value === "target" && Number.isFinite(found.point.limit)) state.target = Number(found.point.limit.toPrecision(5));
    set({ mode: event.target.value });
  });
  byId("shown").addEventListener("change", (event) => {
    state.shown = event.target.value;
    show();
  });
  byId("reset").addEventListener("click", () => set(structuredClone(configured)));
  byId("inside").addEventListener("click", () => set(inside()));
  ["link", "command", "yaml"].forEach((kind) => byId(`copy-${kind}`).addEventListener("click", () => copy(kind)));
  byId("save-csv").addEventListener("click", () => save("plan.csv", "text/csv", asTable()));
  byId("save-png").addEventListener("click", saveMap);
  byId("map").addEventListener("keydown", walk);
  open();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  addEventListener("resize", () => [drawMap, drawSlices, drawFront].forEach(drawSoon));
}

// The first question: a link's, or the configured one within the measured range, loosened until it
// has a robust plan.
function open() {
  let linked = null;
  try {
    linked = JSON.parse(decodeURIComponent(location.hash.slice(1)));
  } catch {
    // No link, or none of ours.
  }
  eased = linked === null ? 5 : 0;
  const known = Object.keys(linked ?? {}).filter((key) => key in configured && (key !== "law" || targets.some((fit) => keyOf(fit) === linked.law)));
  Object.assign(state, known.length ? Object.fromEntries(known.map((key) => [key, linked[key]])) : { ...inside(), max_flops: asked.max_flops });
  update();
}

// Arrow keys move your own point over the map, Escape gives it up.
function walk(event) {
  const steps = { ArrowLeft: [-0.01, 0], ArrowRight: [0.01, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] };
  if (event.key === "Escape") Object.assign(state, { replay: null, atpp: null });
  else if (event.key in steps) {
    const { replay, atpp } = probe();
    const [across, up] = steps[event.key];
    const { leastReplay, mostReplay, low, high } = found.space;
    state.replay = Math.min(Math.max(replay + across, leastReplay), mostReplay);
    state.atpp = Math.exp(Math.min(Math.max(Math.log(atpp) + up, low), high));
  } else return;
  event.preventDefault();
  show();
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
  settled: () => toDraw.size === 0 && (found.point.refused || !found.sure || found.relaxed !== null),
  value: (fit, draw, model, replay, atpp) => predictor(data.fits[fit], data.fits[fit].draws?.[draw] ?? data.fits[fit].params, model)(replay, atpp),
  values: (replay, atpp) => valuesAt(replay, Math.log(atpp)),
  forecast: (fit, model, replay, atpp) => ["logLoss", "spread"].map((name) => forecastOf(data.fits[fit], model)[name](replay, Math.log(atpp))),
};
