"use strict";

// The plots, drawn with D3 as SVG: the map over replay and ATPP with its key, and the two slices.

const GRID = 81; // points of the map along each axis
const SHADES = 24; // steps of the map's colour
const VEIL = 0.45; // how opaque the veil over broken limits is
const MARGIN = { left: 58, right: 14, top: 8, bottom: 44 };
const DASHES = { solid: null, dash: "8 5", dot: "2 3.5", dashdot: "8 4 2 4", longdash: "14 5" };
const DOMAIN_DASHES = ["dash", "dot", "dashdot", "longdash"];
const DASH_WORDS = { dash: "dashed", dot: "dotted", dashdot: "dash-dotted", longdash: "long-dashed" };
const MARKS = {
  star: d3.symbol().type(d3.symbolStar).size(150)(),
  diamond: d3.symbol().type(d3.symbolSquare).size(110)(),
  x: d3.symbol().type(d3.symbolCross).size(130)(),
  circle: d3.symbol().type(d3.symbolCircle).size(100)(),
};
const TURNS = { diamond: 45, x: 45 };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const domainColour = (domain) => colour(`domain-${(domains.indexOf(domain) % 3) + 1}`);
const domainDash = (domain) => DOMAIN_DASHES[domains.indexOf(domain) % DOMAIN_DASHES.length];

// An empty plot in its container, with axes: {svg, inside, x, y, width, height}. What is put into
// `inside` is cut off at the axes.
function frame(id, x, y, labels, ticks) {
  const box = byId(id);
  const size = { width: box.clientWidth, height: box.clientHeight };
  x.range([MARGIN.left, size.width - MARGIN.right]);
  y.range([size.height - MARGIN.bottom, MARGIN.top]);
  const svg = d3.create("svg").attr("width", size.width).attr("height", size.height);
  const cut = svg.append("clipPath").attr("id", `${id}-inside`).append("rect");
  cut.attr("x", x.range()[0]).attr("y", y.range()[1]);
  cut.attr("width", x.range()[1] - x.range()[0]).attr("height", y.range()[0] - y.range()[1]);
  const inside = svg.append("g").attr("clip-path", `url(#${id}-inside)`);
  const axes = svg.append("g").attr("class", "axes");
  const across = d3.axisBottom(x).ticks(size.width / 80).tickSizeOuter(0);
  const up = d3.axisLeft(y).ticks(size.height / 55).tickSizeOuter(0);
  if (ticks.x) across.tickValues(ticks.x).tickFormat((value) => plain(value));
  if (ticks.y) up.tickValues(ticks.y).tickFormat((value) => plain(value));
  axes.append("g").attr("transform", `translate(0, ${y.range()[0]})`).call(across);
  axes.append("g").attr("transform", `translate(${x.range()[0]}, 0)`).call(up);
  axes.append("text").attr("class", "across").attr("x", (x.range()[0] + x.range()[1]) / 2).attr("y", size.height - 8).text(labels.x);
  axes.append("text").attr("class", "up").attr("transform", `translate(15, ${(y.range()[0] + y.range()[1]) / 2}) rotate(-90)`).text(labels.y);
  box.replaceChildren(svg.node());
  return { svg, inside, x, y };
}

// Round ATPP values within the map.
function tokenTicks() {
  const [low, high] = [found.space.low, found.space.high].map((x) => x / Math.LN10);
  const digits = high - low < 2.5 ? [1, 2, 5] : [1];
  return d3
    .range(Math.floor(low), high + 1)
    .flatMap((power) => digits.map((digit) => digit * 10 ** power))
    .filter((value) => Math.log10(value) >= low - 1e-9 && Math.log10(value) <= high + 1e-9);
}

const tokensScale = () => d3.scaleLog().domain([found.space.low, found.space.high].map(Math.exp));

// Values over the map, rows of ATPP (low first), as d3.contours reads them; where a law has none, as
// a forgetting law without replay, the greatest one.
function surface(value, size = GRID) {
  const atpps = spaced(found.space.low, found.space.high, size).map(Math.exp);
  const columns = spaced(found.space.leastReplay, found.space.mostReplay, size);
  const values = atpps.flatMap((atpp) => columns.map((replay) => value(replay, atpp)));
  const most = d3.max(values.filter(Number.isFinite));
  return values.map((each) => (Number.isFinite(each) ? each : most));
}

// Where a surface is above each level, in the plot's pixels. d3.contours puts a value in the middle
// of its cell, so the outer half of the outermost cells, and the polygons' ends there, are cut off.
function above(plot, values, levels) {
  const size = Math.sqrt(values.length);
  const place = (scale, at) => {
    const [from, to] = scale.range();
    return from + ((at - 0.5) / (size - 1)) * (to - from);
  };
  return d3.contours().size([size, size]).thresholds(levels)(values).map((contour) => ({
    level: contour.value,
    rings: contour.coordinates.flat().map((ring) => ring.map(([i, j]) => [place(plot.x, i), place(plot.y, j)])),
  }));
}

const outline = (contour) => contour.rings.map((ring) => `M${ring.map((at) => at.map((v) => v.toFixed(2))).join("L")}Z`).join("");

function area(plot, contour, tint, opacity = 1) {
  plot.inside.append("path").attr("d", outline(contour)).attr("fill", tint).attr("fill-opacity", opacity).attr("fill-rule", "evenodd");
}

function line(plot, contour, tint, width, dash = "solid") {
  plot.inside.append("path").attr("d", outline(contour)).attr("fill", "none").attr("stroke", tint).attr("stroke-width", width).attr("stroke-dasharray", DASHES[dash]);
}

// The line's value, where the line is well inside the plot and no other label is near.
function label(plot, contour, taken) {
  const [left, right] = [plot.x.range()[0] + 22, plot.x.range()[1] - 22];
  const [top, bottom] = [plot.y.range()[1] + 14, plot.y.range()[0] - 14];
  const free = ([x, y]) =>
    x > left && x < right && y > top && y < bottom && taken.every(([a, b]) => Math.hypot(a - x, b - y) > 60);
  const candidates = contour.rings.flat().filter(free);
  if (!candidates.length) return;
  const at = candidates[Math.floor(candidates.length / 2)];
  taken.push(at);
  plot.inside.append("text").attr("class", "level").attr("x", at[0]).attr("y", at[1]).attr("dy", "0.35em").text(plain(contour.level, 3));
}

function mark(parent, kind, x, y) {
  parent.append("path").attr("d", MARKS[kind]).attr("transform", `translate(${x}, ${y}) rotate(${TURNS[kind] ?? 0})`)
    .attr("fill", colour("mark-edge")).attr("stroke", colour("mark")).attr("stroke-width", 1.8);
}

function drawMap() {
  byId("map").replaceChildren();
  if (found.empty) return showKey([]);
  const { space, shares, point, robust } = found;
  const model = modelOf(state);
  const values = { target: space.target };
  for (const fit of forgettingFits()) values[fit.domain] = predictor(fit, fit.params, model);
  const plot = frame(
    "map",
    d3.scaleLinear().domain([space.leastReplay, space.mostReplay]),
    tokensScale(),
    { x: "replay (share of tokens)", y: "ATPP (tokens/parameter)" },
    { y: tokenTicks() },
  );
  const key = [];
  const filled = state.shown === "share" ? shares?.all.flat() : surface(values[state.shown] ?? values.target);
  if (filled) drawFill(plot, filled, key);
  const limits = limitsShown();
  for (const l of limits) l.over = surface((replay, atpp) => values[l.of](replay, atpp) - l.limit - TOLERANCE);
  if (limits.length) {
    const worst = limits[0].over.map((_, i) => Math.max(...limits.map((l) => l.over[i])));
    area(plot, above(plot, worst, [0])[0], colour("veil"), VEIL);
    key.push({ patch: colour("veil"), opacity: VEIL + 0.15, text: "a limit is broken" });
  }
  const banded = shares && limits.find((l) => l.of === state.shown);
  if (banded) {
    const within = banded.share.flat().map((share) => Math.min(share - BAND[0], BAND[1] - share));
    area(plot, above(plot, within, [0])[0], banded.tint, 0.2);
    key.push({ patch: banded.tint, opacity: 0.4, text: `5 to 95 % of draws keep ${banded.own ?? banded.name}` });
  }
  if (filled) drawLevels(plot, filled);
  for (const l of limits) {
    line(plot, above(plot, l.over, [0])[0], l.tint, 3, l.dash);
    const kept = l.over.filter((over) => over <= 0).length;
    const where = kept === l.over.length ? " (kept everywhere)" : kept ? "" : " (kept nowhere)";
    key.push({ line: l.tint, dash: l.dash, text: `limit: ${l.name}${where}` });
  }
  if (shares && limits.length) {
    line(plot, above(plot, shares.all.flat(), [state.level - 1e-9])[0], colour("mark"), 2);
    key.push({ line: colour("mark"), dash: "solid", text: `${percent(state.level)} of draws keep every limit${robust?.feasible ? "" : " (nowhere)"}` });
  }
  const box = measuredBox();
  if (box) {
    const [left, right] = [box.x0, box.x1].map(plot.x);
    const [top, bottom] = [box.y1, box.y0].map(plot.y);
    plot.svg.append("rect").attr("x", left).attr("y", top).attr("width", right - left).attr("height", bottom - top)
      .attr("fill", "none").attr("stroke", colour("ink")).attr("stroke-dasharray", DASHES.dot);
    key.push({ line: colour("ink"), dash: "dot", text: "measured replay and ATPP lie within" });
  }
  const marks = [];
  if (!point.refused) marks.push([point, point.feasible ? "star" : "x", point.feasible ? "cheapest plan" : "nearest miss"]);
  if (robust?.feasible) marks.push([robust, "diamond", "robust plan"]);
  if (state.replay !== null) marks.push([probe(), "circle", "your point"]);
  for (const [at, kind, text] of marks) {
    mark(plot.svg, kind, plot.x(at.replay), Math.max(plot.y.range()[1], Math.min(plot.y(at.atpp), plot.y.range()[0])));
    key.push({ mark: kind, text });
  }
  listen(plot, "map", (replay, atpp) => {
    const losses = [["loss", values.target], ...forgettingFits().map((fit) => [`forgetting ${fit.domain}`, values[fit.domain]])];
    return [`replay ${ratio(replay)}, ATPP ${plain(atpp, 3)}`, ...losses.map(([name, value]) => `${name} ${plain(value(replay, atpp))}`)];
  }, (replay, atpp) => set({ replay, atpp }));
  byId("map").setAttribute("aria-label", `Map over replay and ATPP. ${byId("point-verdict").textContent} ${byId("robust-verdict").textContent}`);
  showKey(key);
}

// The limits in force: whose value, how much, its colour, and the shares of draws that keep it.
function limitsShown() {
  const { space, shares, point } = found;
  const target = { name: `target loss ${plain(point.limit)}`, of: "target", limit: point.limit, tint: colour("target"), dash: "solid", share: shares?.target };
  if (state.mode === "within") target.own = "their own limit of target loss";
  return [
    ...(Number.isNaN(point.limit) ? [] : [target]),
    ...space.forgetting.map((f, i) => ({
      name: `forgetting of ${f.domain} ${plain(f.limit)}`, of: f.domain, limit: f.limit,
      tint: domainColour(f.domain), dash: domainDash(f.domain), share: shares?.forgetting[i],
    })),
  ];
}

function drawFill(plot, values, key) {
  const [low, high] = state.shown === "share" ? [0, 1] : d3.extent(values);
  const tint = d3.scaleLinear().domain([low, high]).range([colour("fill-low"), colour("fill-high")]);
  const size = [plot.x.range()[1] - plot.x.range()[0], plot.y.range()[0] - plot.y.range()[1]];
  plot.inside.append("rect").attr("x", plot.x.range()[0]).attr("y", plot.y.range()[1]).attr("width", size[0]).attr("height", size[1]).attr("fill", tint(low));
  const levels = spaced(low, high, SHADES + 1).slice(1, -1);
  for (const contour of above(plot, values, levels)) area(plot, contour, tint(contour.level));
  const unit = state.shown === "share" ? "of draws" : "nats/token";
  const ends = state.shown === "share" ? ["0", "1"] : [plain(low, 3), plain(high, 3)];
  key.push({ ramp: [colour("fill-low"), colour("fill-high")], text: `${ends[0]} to ${ends[1]} ${unit}` });
}

function drawLevels(plot, values) {
  const taken = [];
  const contours = above(plot, values, d3.ticks(...d3.extent(values), 8));
  for (const contour of contours) {
    line(plot, contour, colour("ink"), 0.7);
    label(plot, contour, taken);
  }
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

// Tell what is under the pointer, and let a click choose it.
function listen(plot, id, tell, choose) {
  const [left, right] = plot.x.range();
  const [bottom, top] = plot.y.range();
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  byId(id).append(tip);
  const at = (event) => {
    const box = byId(id).getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  plot.svg.append("rect").attr("class", "pointer").attr("x", left).attr("y", top).attr("width", right - left).attr("height", bottom - top)
    .attr("fill", "transparent").style("cursor", choose ? "crosshair" : null)
    .on("pointermove", () => {
      const [x, y] = at(d3.event);
      tip.hidden = false;
      tip.innerText = tell(plot.x.invert(x), plot.y.invert(y)).join("\n");
      tip.style.left = `${Math.min(x + 12, right - tip.offsetWidth)}px`;
      tip.style.top = `${y > (top + bottom) / 2 ? y - tip.offsetHeight - 12 : y + 12}px`;
    })
    .on("pointerleave", () => (tip.hidden = true))
    .on("click", () => {
      const [x, y] = at(d3.event);
      if (choose) choose(plot.x.invert(x), plot.y.invert(y));
    });
}

function showKey(entries) {
  byId("key").replaceChildren(...entries.map((entry) => {
    const icon = d3.create("svg").attr("width", 24).attr("height", 20).attr("aria-hidden", "true");
    if (entry.mark) mark(icon, entry.mark, 12, 10);
    else if (entry.line) icon.append("line").attr("x2", 24).attr("y1", 10).attr("y2", 10).attr("stroke", entry.line).attr("stroke-width", 3).attr("stroke-dasharray", DASHES[entry.dash]);
    else {
      const tints = entry.ramp ? spaced(0, 1, 12).map(d3.interpolateRgb(...entry.ramp)) : [entry.patch];
      tints.forEach((tint, i) => icon.append("rect").attr("x", 1 + (22 * i) / tints.length).attr("y", 3).attr("width", 22 / tints.length).attr("height", 14).attr("fill", tint).attr("fill-opacity", entry.opacity ?? 1));
      icon.append("rect").attr("x", 1).attr("y", 3).attr("width", 22).attr("height", 14).attr("fill", "none").attr("stroke", colour("line"));
    }
    const item = document.createElement("li");
    item.append(icon.node(), entry.text);
    return item;
  }));
}

// Along ATPP at the replay of your own point: fitted laws as lines, the draws as bands.
function drawSlices() {
  const { replay, atpp } = probe();
  const others = forgettingFits();
  byId("slice-forgetting").hidden = others.length === 0;
  const fit = targetFit();
  const target = { fit, name: `loss ${fit.domain}`, tint: colour("target"), dash: "solid", limit: found.point.limit };
  drawSlice("slice-target", [target], `loss of ${fit.domain} (nats/token)`, replay, atpp);
  const curves = others.map((each) => ({
    fit: each, name: `forgetting ${each.domain}`, tint: domainColour(each.domain),
    dash: domainDash(each.domain), limit: state.forgetting[each.domain] ?? NaN,
  }));
  if (curves.length) drawSlice("slice-forgetting", curves, "forgetting (nats/token)", replay, atpp);
  byId("slice-title").textContent = `Along tokens, at replay ${ratio(replay)}`;
  const words = curves.map((curve) => `${curve.fit.domain} ${DASH_WORDS[curve.dash]}`).join(", ");
  byId("slice-note").textContent =
    `Lines: the fitted laws${words && ` (forgetting: ${words})`}. Bands: 5th to 95th percentile of the draws. Vertical line: your point, or else the plan. Thin dotted lines: limits.`;
}

function drawSlice(id, curves, title, replay, atpp) {
  byId(id).replaceChildren();
  if (found.empty) return;
  const model = modelOf(state);
  const tokens = spaced(found.space.low, found.space.high, 41).map(Math.exp);
  for (const curve of curves) {
    curve.value = predictor(curve.fit, curve.fit.params, model);
    const draws = curve.fit.draws.map((params) => predictor(curve.fit, params, model));
    curve.points = tokens.map((at) => {
      const all = draws.map((draw) => draw(replay, at));
      return { at, value: curve.value(replay, at), low: quantile(all, BAND[0]), high: quantile(all, BAND[1]) };
    });
  }
  curves = curves.filter((curve) => curve.points.every((p) => Number.isFinite(p.value)));
  if (!curves.length) {
    byId(id).textContent = `No law speaks of replay ${ratio(replay)}.`;
    return;
  }
  const heights = curves.flatMap((curve) => curve.points.flatMap((p) => [p.low, p.high, p.value]));
  const limits = curves.map((curve) => curve.limit).filter((limit) => !Number.isNaN(limit));
  const [low, high] = d3.extent([...heights, ...limits]);
  const room = 0.06 * (high - low) || 0.1;
  const plot = frame(id, tokensScale(), d3.scaleLinear().domain([low - room, high + room]), { x: "ATPP (tokens/parameter)", y: title }, { x: tokenTicks() });
  const x = (p) => plot.x(p.at);
  const path = (d, set) => set(plot.inside.append("path").attr("d", d));
  curves.forEach((curve) => path(d3.area().x(x).y0((p) => plot.y(p.low)).y1((p) => plot.y(p.high))(curve.points), (p) => p.attr("fill", curve.tint).attr("fill-opacity", 0.22)));
  curves.forEach((curve, i) => {
    path(d3.line().x(x).y((p) => plot.y(p.value))(curve.points), (p) => p.attr("fill", "none").attr("stroke", curve.tint).attr("stroke-width", 2.5).attr("stroke-dasharray", DASHES[curve.dash]));
    if (Number.isNaN(curve.limit)) return;
    const y = plot.y(curve.limit);
    plot.inside.append("line").attr("x1", plot.x.range()[0]).attr("x2", plot.x.range()[1]).attr("y1", y).attr("y2", y).attr("stroke", curve.tint).attr("stroke-dasharray", DASHES.dot);
    plot.inside.append("text").attr("x", plot.x.range()[0] + 6 + 75 * i).attr("y", y - 4).attr("class", "limit").text(curves.length > 1 ? `limit ${curve.fit.domain}` : "limit");
  });
  plot.inside.append("line").attr("x1", plot.x(atpp)).attr("x2", plot.x(atpp)).attr("y1", plot.y.range()[0]).attr("y2", plot.y.range()[1]).attr("stroke", colour("ink"));
  listen(plot, id, (at) => [`ATPP ${plain(at, 3)}`, ...curves.map((curve) => `${curve.name} ${plain(curve.value(replay, at))}`)], null);
  byId(id).setAttribute("aria-label", `${title} against ATPP at replay ${ratio(replay)}, with the band of the draws.`);
}
