"use strict";

// The plots, drawn with D3 as SVG: the map over replay and ATPP, the slices, and the Pareto front.

const GRID = 61; // points of the map along each axis
const SHADES = 24; // steps of the map's colour
const VEIL = 0.85; // how opaque the veil over what breaks a limit is
const FRONT = { atpps: 5, replays: 20 }; // the grid of the front, as in Python
const MARGIN = { left: 58, right: 14, top: 10, bottom: 44 };
const DASHES = { solid: null, dash: "8 5", dot: "2 3.5", dashdot: "8 4 2 4", longdash: "14 5" };
const DOMAIN_DASHES = ["dash", "dot", "dashdot", "longdash"];
const MARKS = {
  star: d3.symbol().type(d3.symbolStar).size(150)(),
  diamond: d3.symbol().type(d3.symbolSquare).size(110)(),
  x: d3.symbol().type(d3.symbolCross).size(130)(),
  circle: d3.symbol().type(d3.symbolCircle).size(100)(),
};
const TURNS = { diamond: 45, x: 45 };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const tintOf = (law) => colour(law.fit.forgets ? `domain-${(domains.indexOf(law.domain) % 3) + 1}` : "target");
const dashOf = (law) => (law.fit.forgets ? DOMAIN_DASHES[domains.indexOf(law.domain) % DOMAIN_DASHES.length] : "solid");
const titleOf = (law) => (law.fit.forgets ? `forgetting of ${law.domain}` : `loss of ${law.domain}`);

// Attributes of a D3 selection, several at once.
const put = (selection, attributes) => Object.entries(attributes).reduce((s, [name, value]) => s.attr(name, value), selection);

// An empty plot in its container, with axes: {svg, inside, x, y}. What is put into `inside` is cut
// off at the axes. `right`: room for a scale of colours.
function frame(id, x, y, labels, { ticks = {}, right = MARGIN.right } = {}) {
  const box = byId(id);
  const size = { width: box.clientWidth, height: box.clientHeight };
  x.range([MARGIN.left, size.width - right]);
  y.range([size.height - MARGIN.bottom, MARGIN.top]);
  const svg = put(d3.create("svg"), { ...size, role: "img", "aria-label": `${labels.y} against ${labels.x}` });
  const cut = svg.append("clipPath").attr("id", `${id}-inside`).append("rect");
  put(cut, areaOf(x, y));
  const inside = svg.append("g").attr("clip-path", `url(#${id}-inside)`);
  const axes = svg.append("g").attr("class", "axes");
  const across = d3.axisBottom(x).ticks(size.width / 80).tickSizeOuter(0);
  const up = d3.axisLeft(y).ticks(size.height / 55).tickSizeOuter(0);
  if (ticks.x) across.tickValues(ticks.x).tickFormat((value) => plain(value));
  else if (labels.x === REPLAY) across.tickFormat((value) => percent(value));
  if (ticks.y) up.tickValues(ticks.y).tickFormat((value) => plain(value));
  axes.append("g").attr("transform", `translate(0, ${y.range()[0]})`).call(across);
  axes.append("g").attr("transform", `translate(${x.range()[0]}, 0)`).call(up);
  put(axes.append("text"), { class: "across", x: (x.range()[0] + x.range()[1]) / 2, y: size.height - 8 }).text(labels.x);
  put(axes.append("text"), { class: "up", transform: `translate(15, ${(y.range()[0] + y.range()[1]) / 2}) rotate(-90)` }).text(labels.y);
  box.replaceChildren(svg.node());
  return { svg, inside, x, y };
}

const areaOf = (x, y) => ({ x: x.range()[0], y: y.range()[1], width: x.range()[1] - x.range()[0], height: y.range()[0] - y.range()[1] });

// Round ATPP values within the map.
function tokenTicks() {
  const [low, high] = [found.space.low, found.space.high].map((x) => x / Math.LN10);
  const digits = high - low < 2.5 ? [1, 2, 5] : [1];
  return d3.range(Math.floor(low), high + 1).flatMap((power) => digits.map((digit) => digit * 10 ** power))
    .filter((value) => Math.log10(value) >= low - 1e-9 && Math.log10(value) <= high + 1e-9);
}

const tokensScale = () => d3.scaleLog().domain([found.space.low, found.space.high].map(Math.exp));
const replayScale = () => d3.scaleLinear().domain([found.space.leastReplay, found.space.mostReplay]);
const TOKENS = "tokens per parameter (ATPP)";
const REPLAY = "replay, share of the tokens";

// Values over the map, rows of ATPP (low first), as d3.contours reads them.
function surface(value) {
  const columns = spaced(found.space.leastReplay, found.space.mostReplay, GRID);
  return spaced(found.space.low, found.space.high, GRID).flatMap((logAtpp) => columns.map((replay) => value(replay, logAtpp)));
}

// Where a surface is above each level, in the plot's pixels. d3.contours puts a value in the middle
// of its cell, so the outer half of the outermost cells, and the polygons' ends there, are cut off.
function above(plot, values, levels) {
  const size = Math.sqrt(values.length);
  const place = (scale, at) => scale.range()[0] + ((at - 0.5) / (size - 1)) * (scale.range()[1] - scale.range()[0]);
  return d3.contours().size([size, size]).thresholds(levels)(values).map((contour) => ({
    level: contour.value,
    rings: contour.coordinates.flat().map((ring) => ring.map(([i, j]) => [place(plot.x, i), place(plot.y, j)])),
  }));
}

const outline = (contour) => contour.rings.map((ring) => `M${ring.map((at) => at.map((v) => v.toFixed(2))).join("L")}Z`).join("");

const area = (plot, contour, tint, opacity = 1) =>
  put(plot.inside.append("path"), { d: outline(contour), fill: tint, "fill-opacity": opacity, "fill-rule": "evenodd" });
const line = (plot, contour, tint, width, dash = "solid") =>
  put(plot.inside.append("path"), { d: outline(contour), fill: "none", stroke: tint, "stroke-width": width, "stroke-dasharray": DASHES[dash] });

// A line's name, where the line is well inside the plot and no other label is near.
function label(plot, contour, taken, text) {
  const { x, y, width, height } = areaOf(plot.x, plot.y);
  const half = 3.8 * text.length;
  const free = ([a, b]) => a > x + half && a < x + width - half && b > y + 12 && b < y + height - 12 &&
    taken.every((other) => Math.abs(other.y - b) > 17 || Math.abs(other.x - a) > half + other.half);
  const candidates = contour.rings.flat().filter(free);
  if (!candidates.length) return;
  const at = candidates[Math.floor(candidates.length / 2)];
  taken.push({ x: at[0], y: at[1], half });
  put(plot.inside.append("text"), { class: "level", x: at[0], y: at[1], dy: "0.35em" }).text(text);
}

function mark(parent, kind, x, y) {
  put(parent.append("path"), { d: MARKS[kind], transform: `translate(${x}, ${y}) rotate(${TURNS[kind] ?? 0})`, fill: colour("mark-edge"), stroke: colour("mark"), "stroke-width": 1.8 });
}

function drawMap() {
  byId("map").replaceChildren();
  byId("key").replaceChildren();
  if (found.space.empty) return;
  const { space, shares, point, robust } = found;
  const shown = space.shown.find((law) => law.domain === state.shown) ?? space.shown[0];
  const share = state.shown === "share";
  const plot = frame("map", replayScale(), tokensScale(), { x: REPLAY, y: TOKENS }, { ticks: { y: tokenTicks() }, right: 64 });
  const values = share ? shares?.all.flat() : surface(shown.value);
  const known = values?.filter(Number.isFinite).sort(d3.ascending);
  const [low, high] = share ? [0, 1] : [known[0], d3.quantile(known, 0.9)];
  // The better, the fuller: low losses, high shares of draws.
  const tint = d3.scaleLinear().domain(share ? [low, high] : [high, low]).range([colour("fill-low"), colour("fill-high")]).clamp(true);
  if (values) {
    put(plot.inside.append("rect"), { ...areaOf(plot.x, plot.y), fill: tint(low) });
    for (const contour of above(plot, values, spaced(low, high, SHADES + 1).slice(1, -1))) area(plot, contour, tint(contour.level));
    for (const contour of above(plot, values, d3.ticks(low, high, 8))) line(plot, contour, colour("ink"), 0.4);
  }
  drawScale(plot, low, high, tint, share ? "share" : "nats");
  const limits = space.laws.map((law, i) => ({ law, limit: i ? law.limit : point.limit })).filter(({ limit }) => !Number.isNaN(limit));
  for (const each of limits) each.over = surface((replay, logAtpp) => each.law.value(replay, logAtpp) - each.limit - TOLERANCE);
  if (limits.length) area(plot, above(plot, limits[0].over.map((_, i) => Math.max(...limits.map((each) => each.over[i]))), [0])[0], colour("paper"), VEIL);
  drawMeasured(plot, shown, tint, share);
  const marks = [];
  if (!point.refused) marks.push([point, point.feasible ? "star" : "x", point.feasible ? "cheapest plan" : "nearest miss"]);
  if (robust?.feasible) marks.push([robust, "diamond", "robust plan"]);
  if (state.replay !== null) marks.push([probe(), "circle", "your point"]);
  for (const one of marks) one.place = { x: plot.x(one[0].replay), y: Math.max(plot.y.range()[1], Math.min(plot.y(one[0].atpp), plot.y.range()[0])), half: 10 };
  const taken = marks.map((one) => one.place);
  for (const { law, limit, over } of limits) {
    const [contour] = above(plot, over, [0]);
    line(plot, contour, tintOf(law), 2.5, dashOf(law));
    label(plot, contour, taken, `${law.fit.forgets ? law.domain : "loss"} ≤ ${plain(limit, 3)}`);
  }
  if (shares && limits.length) {
    const [contour] = above(plot, shares.all.flat(), [state.level - 1e-9]);
    line(plot, contour, colour("mark"), 2);
    label(plot, contour, taken, `all, ${inTen(state.level)}`);
  }
  for (const { 1: kind, place } of marks) mark(plot.svg, kind, place.x, place.y);
  listen(plot, "map", (replay, atpp) => [
    `replay ${ratio(replay)}, ATPP ${plain(atpp, 3)}`,
    ...space.shown.map((law) => `${titleOf(law)} ${plain(law.value(replay, Math.log(atpp)))}`),
  ], (replay, atpp) => {
    Object.assign(state, { replay, atpp });
    show();
  });
  const said = `${byId("robust-verdict").textContent} ${byId("point-verdict").textContent}`;
  byId("map").setAttribute("aria-label", `Map over replay and tokens. Arrow keys move your own point, Escape gives it up. ${said}`);
  const entries = [...marks.map(([, kind, text]) => [kind, text]), ["", "faded: a limit is broken"]];
  if (shares && limits.length) entries.push(["", `within the inner line: kept in ${inTen(state.level)} draws`]);
  if (data.cells.length) entries.push(["", `dots: measured${nearestCells().exact ? "" : " at the nearest checkpoint"}`]);
  byId("key").replaceChildren(...entries.map(([kind, text]) => {
    const icon = put(d3.create("svg"), { width: 22, height: 20, "aria-hidden": "true" });
    if (kind) mark(icon, kind, 11, 10);
    return make("li", {}, ...(kind ? [icon.node()] : []), text);
  }));
}

// The scale of the map's colour, with ticks.
function drawScale(plot, low, high, tint, unit) {
  const { x, y, width, height } = areaOf(plot.x, plot.y);
  const step = (height - 20) / SHADES;
  const scale = d3.scaleLinear().domain([low, high]).range([y + height, y + 20]);
  const bar = plot.svg.append("g").attr("class", "axes");
  for (const value of spaced(low, high, SHADES)) put(bar.append("rect"), { x: x + width + 10, y: Math.max(scale(value) - step, y + 20), width: 12, height: step + 0.5, fill: tint(value) });
  bar.append("g").attr("transform", `translate(${x + width + 22}, 0)`).call(d3.axisRight(scale).ticks(5).tickSizeOuter(0));
  put(bar.append("text"), { x: x + width + 8, y: y + 6 }).text(unit);
}

// Measured cells of the target domain at the checkpoint nearest to the one asked for.
function nearestCells() {
  const away = ([n, p]) => Math.max(Math.abs(Math.log(n / state.n_params)), Math.abs(Math.log(p / state.ptpp)));
  const least = Math.min(...data.cells.map(away));
  return { exact: least <= 0.01, cells: data.cells.filter((cell) => away(cell) <= least + 1e-9) };
}

function drawMeasured(plot, shown, tint, share) {
  const { exact, cells } = nearestCells();
  for (const [n, p, replay, atpp, value] of cells) {
    const dot = put(plot.inside.append("circle"), { cx: plot.x(replay), cy: plot.y(atpp), r: 4.5, stroke: colour("mark"), "stroke-width": 0.8 });
    dot.attr("fill", exact && !shown.fit.forgets && !share ? tint(value) : "none").attr("class", "cell");
    dot.append("title").text(`measured: loss ${plain(value)} (N ${short(n, 3)}, PTPP ${plain(p)})`);
  }
}

// Tell what is under the pointer, and let a click choose it.
function listen(plot, id, tell, choose) {
  const tip = make("div", { class: "tip", hidden: "" });
  byId(id).append(tip);
  const { x, y, width, height } = areaOf(plot.x, plot.y);
  const at = (event) => {
    const box = byId(id).getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  put(plot.svg.append("rect"), { class: "pointer", x, y, width, height, fill: "transparent" }).style("cursor", choose ? "crosshair" : null)
    .on("pointermove", () => {
      const [across, down] = at(d3.event);
      tip.hidden = false;
      tip.innerText = tell(plot.x.invert(across), plot.y.invert(down)).join("\n");
      tip.style.left = `${Math.min(across + 12, x + width - tip.offsetWidth)}px`;
      tip.style.top = `${down > y + height / 2 ? down - tip.offsetHeight - 12 : down + 12}px`;
    })
    .on("pointerleave", () => (tip.hidden = true))
    .on("click", () => choose?.(...[plot.x, plot.y].map((scale, i) => scale.invert(at(d3.event)[i]))));
}

// Through your own point, or else the plan: along tokens and along replay.
function drawSlices() {
  const { space } = found;
  ["target-tokens", "target-replay", "forgetting-tokens", "forgetting-replay"].forEach((id) => byId(id).replaceChildren());
  if (space.empty) return;
  const { replay, atpp } = probe();
  const logAtpp = Math.log(atpp);
  const [target, ...others] = space.shown;
  byId("along-tokens").textContent = `Along tokens, at ${percent(replay, 2)} replay`;
  byId("along-replay").textContent = `Along replay, at ${short(atpp)} tokens per parameter`;
  for (const [name, laws, title] of [["target", [target], `loss of ${target.domain}, nats`], ["forgetting", others, "forgetting, nats"]]) {
    ["tokens", "replay"].forEach((along) => (byId(`${name}-${along}`).hidden = !laws.length));
    if (!laws.length) continue;
    const tokens = spaced(space.low, space.high, 33).map((a) => [Math.exp(a), replay, a]);
    const replays = spaced(space.leastReplay, space.mostReplay, 33).map((r) => [r, r, logAtpp]);
    drawSlice(`${name}-tokens`, laws, tokens, tokensScale(), { x: TOKENS, y: title }, atpp, { x: tokenTicks() });
    drawSlice(`${name}-replay`, laws, replays, replayScale(), { x: REPLAY, y: title }, replay);
  }
}

function drawSlice(id, laws, places, scale, labels, here, ticks) {
  const out = new Float64Array(found.space.draws);
  const curves = laws.map((law, k) => ({
    law,
    limit: law.fit.forgets ? law.limit : found.point.limit,
    points: places.map(([at, replay, logAtpp]) => {
      const value = law.value(replay, logAtpp);
      if (!found.ready) return { at, value, low: value, high: value };
      law.fill(replay, logAtpp, out);
      return { at, value, low: quantile(out, BAND[0]), high: quantile(out, BAND[1]) };
    }).filter((p) => Number.isFinite(p.value)),
  }));
  const heights = curves.flatMap((curve) => [...curve.points.flatMap((p) => [p.low, p.high]), curve.limit]).filter(Number.isFinite);
  const [low, high] = d3.extent(heights);
  const room = 0.06 * (high - low) || 0.1;
  const plot = frame(id, scale, d3.scaleLinear().domain([low - room, high + room]), labels, { ticks });
  const x = (p) => plot.x(p.at);
  for (const { law, points } of curves) put(plot.inside.append("path"), { d: d3.area().x(x).y0((p) => plot.y(p.low)).y1((p) => plot.y(p.high))(points), fill: tintOf(law), "fill-opacity": 0.22 });
  const across = { x1: plot.x.range()[0], x2: plot.x.range()[1] };
  curves.forEach(({ law, points, limit }, i) => {
    put(plot.inside.append("path"), { d: d3.line().x(x).y((p) => plot.y(p.value))(points), fill: "none", stroke: tintOf(law), "stroke-width": 2.5, "stroke-dasharray": DASHES[dashOf(law)] });
    const end = points[Math.floor(points.length * (0.3 + 0.35 * i)) % points.length];
    if (curves.length > 1 && end) put(plot.inside.append("text"), { class: "name", x: plot.x(end.at), y: plot.y(end.high) - 5, fill: tintOf(law) }).text(law.domain);
    if (Number.isNaN(limit)) return;
    put(plot.inside.append("line"), { ...across, y1: plot.y(limit), y2: plot.y(limit), stroke: tintOf(law), "stroke-dasharray": DASHES.dot });
    put(plot.inside.append("text"), { class: "name", x: across.x1 + 6 + 76 * i, y: plot.y(limit) - 4 }).text(curves.length > 1 ? `limit ${law.domain}` : "limit");
  });
  put(plot.inside.append("line"), { x1: plot.x(here), x2: plot.x(here), y1: plot.y.range()[0], y2: plot.y.range()[1], stroke: colour("ink") });
}

// Points of a grid that no other beats in compute, target loss and worst forgetting.
function paretoFront({ low, high, leastReplay, mostReplay, laws }) {
  const points = spaced(low, high, FRONT.atpps).flatMap((logAtpp, row) =>
    spaced(leastReplay, mostReplay, FRONT.replays).map((replay) => {
      const [loss, ...others] = laws.map((law) => law.value(replay, logAtpp));
      return { row, replay, atpp: Math.exp(logAtpp), loss, worst: others.length ? Math.max(...others) : 0 };
    }),
  );
  const beats = (a, b) => a.atpp <= b.atpp && a.loss <= b.loss && a.worst <= b.worst && (a.atpp < b.atpp || a.loss < b.loss || a.worst < b.worst);
  return points.filter((b) => !points.some((a) => beats(a, b)));
}

function drawFront() {
  const { space, point, robust } = found;
  byId("front").replaceChildren();
  byId("front-part").hidden = space.laws.length < 2;
  if (space.laws.length < 2) return;
  const points = paretoFront(space);
  const worst = (at) => Math.max(...space.laws.slice(1).map((law) => law.value(at.replay, at.logAtpp)));
  const plans = [point, robust].filter((at) => at?.feasible).map((at) => ({ worst: worst(at), loss: space.laws[0].value(at.replay, at.logAtpp), kind: at === robust ? "diamond" : "star" }));
  const pad = ([low, high]) => [low - 0.05 * (high - low) - 1e-3, high + 0.05 * (high - low) + 1e-3];
  const scale = (name) => d3.scaleLinear().domain(pad(d3.extent([...points, ...plans], (at) => at[name])));
  const plot = frame("front", scale("worst"), scale("loss"), { x: "worst forgetting, nats", y: `loss of ${space.laws[0].domain}, nats` });
  for (const row of d3.range(FRONT.atpps)) {
    const some = points.filter((at) => at.row === row);
    if (!some.length) continue;
    const tint = d3.interpolateRgb(colour("front-low"), colour("accent"))(row / (FRONT.atpps - 1));
    put(plot.inside.append("path"), { d: d3.line().x((at) => plot.x(at.worst)).y((at) => plot.y(at.loss))(some), fill: "none", stroke: tint, "stroke-width": 2 });
    some.forEach((at) => put(plot.inside.append("circle"), { cx: plot.x(at.worst), cy: plot.y(at.loss), r: 3, fill: tint }).append("title").text(`ATPP ${plain(at.atpp, 3)}, replay ${ratio(at.replay)}: loss ${plain(at.loss)}, worst forgetting ${plain(at.worst, 3)}`));
    const end = some[0];
    put(plot.inside.append("text"), { class: "name", x: plot.x(end.worst) - 4, y: plot.y(end.loss) - 6, "text-anchor": "end" }).text(`ATPP ${short(end.atpp)}`);
  }
  for (const at of plans) mark(plot.svg, at.kind, plot.x(at.worst), plot.y(at.loss));
}

// The map as a picture, with the page's colours.
function saveMap() {
  const svg = document.querySelector("#map svg").cloneNode(true);
  const ink = colour("ink");
  const style = `text{fill:${ink};font:13px system-ui,sans-serif}.axes .domain,.axes line{stroke:${colour("line")}}.across,.up,.level{text-anchor:middle}.level{paint-order:stroke;stroke:${colour("paper")};stroke-width:4px}`;
  svg.prepend(Object.assign(document.createElementNS("http://www.w3.org/2000/svg", "style"), { textContent: style }));
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const image = new Image();
  image.onload = () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 2 * image.width, height: 2 * image.height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = colour("paper");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((picture) => save("map.png", "image/png", picture));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
}
