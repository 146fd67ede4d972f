"use strict";

// Plans, from law values alone, by the definitions of Python's planner, which hands over its
// constants (TOLERANCE, BINDING, EDGE, BROKEN, meshes: ptpp/planning/search.py).
// A space is {low, high: log ATPP; leastReplay, mostReplay; floored: forgetting laws speak of no less
// replay; target: f; forgetting: [{limit, value: f}],
// budget: name of the limit that ends ATPP},
// where f(replay, atpp) is a law's value in nats per token. Points are [replay, log ATPP].

function flopsOf(nParams, atpp) {
  return FLOPS_PER_PARAMETER_AND_TOKEN * nParams * (atpp * nParams);
}

function spaced(low, high, count) {
  return Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
}

// Excess over every limit, the target's first; a target limit of NaN is none. What is not a number
// is infinitely bad.
function excesses(space, limit, replay, logAtpp) {
  const atpp = Math.exp(logAtpp);
  const over = space.forgetting.map((f) => f.value(replay, atpp) - f.limit);
  over.unshift(Number.isNaN(limit) ? -Infinity : space.target(replay, atpp) - limit);
  return over.map((value) => (Number.isNaN(value) ? Infinity : value));
}

// The point {cost, ...} of least cost between low and high: a grid, then closer and closer grids
// around its best point. look(x) gives a point.
function zoom(look, low, high, mesh) {
  let best = null;
  for (const points of [mesh.points, ...Array(mesh.rounds).fill(mesh.zoom)]) {
    const grid = spaced(low, high, points);
    let place = 0;
    let least = null;
    grid.forEach((x, i) => {
      const at = look(x);
      if (least === null || at.cost < least.cost) [least, place] = [at, i];
    });
    if (best === null || least.cost < best.cost) best = least;
    [low, high] = [grid[Math.max(place - 1, 0)], grid[Math.min(place + 1, points - 1)]];
  }
  return best;
}

// {cost, replay, logAtpp, allowed} of least cost(replay, logAtpp); a cost of BROKEN and more breaks
// a limit.
function search(space, mesh, cost) {
  const alongAtpp = (replay) =>
    zoom((logAtpp) => ({ cost: cost(replay, logAtpp), replay, logAtpp }), space.low, space.high, mesh);
  const best = zoom(alongAtpp, space.leastReplay, space.mostReplay, mesh);
  return { ...best, allowed: best.cost < BROKEN / 2 };
}

// The least ATPP, hence compute, within all limits; where there is none, the least worst excess.
function leastCompute(space, limit, mesh) {
  return search(space, mesh, (replay, logAtpp) => {
    const worst = Math.max(...excesses(space, limit, replay, logAtpp));
    return worst <= TOLERANCE ? logAtpp : BROKEN + worst;
  });
}

// The least target loss within all other limits.
function leastLoss(space, mesh) {
  return search(space, mesh, (replay, logAtpp) => {
    const [loss, ...others] = excesses(space, 0, replay, logAtpp);
    const worst = Math.max(-Infinity, ...others);
    return worst <= TOLERANCE ? loss : BROKEN + worst;
  });
}

// Does target loss fall with ATPP everywhere, as the search takes for granted?
function falls(space) {
  return spaced(space.leastReplay, space.mostReplay, 9).every((replay) => {
    const losses = spaced(space.low, space.high, 25).map((a) => space.target(replay, Math.exp(a)));
    return losses.slice(1).every((loss, i) => loss - losses[i] <= TOLERANCE);
  });
}

// The target loss's limit, nats; NaN where it depends on a loss that no point may have.
function limitOf(space, request, mesh) {
  if (request.target !== null) return request.target;
  const best = leastLoss(space, mesh);
  return best.allowed ? best.cost + request.within : NaN;
}

// {limit, replay, logAtpp, feasible, shortfall, binding: names as in Python}; refused: the law's
// loss rises with tokens.
function pointPlan(space, request) {
  if (!falls(space)) return { refused: true, feasible: false, limit: NaN };
  const limit = limitOf(space, request, FINE);
  const { cost, replay, logAtpp, allowed: feasible } = leastCompute(space, limit, FINE);
  const over = excesses(space, limit, replay, logAtpp);
  const shortfall = feasible ? 0 : cost - BROKEN;
  const edge = feasible ? 0 : Math.max(...over);
  const names = ["target_loss", ...space.forgetting.map((f) => `forgetting_${f.domain}`)];
  const binding = names.filter((_, i) => over[i] >= edge - BINDING);
  if (space.floored && replay <= space.leastReplay + EDGE) binding.push("least_replay");
  if (logAtpp >= space.high - EDGE) binding.push(space.budget);
  if (replay >= space.mostReplay - EDGE) binding.push("max_replay");
  if (feasible && logAtpp <= space.low + EDGE) binding.push("min_atpp");
  return { limit, replay, logAtpp, feasible, shortfall, binding };
}

// Give every draw (a space) its limit of the target loss: near the best means near that draw's own.
function* giveLimits(draws, request) {
  for (const draw of draws) {
    draw.limit = limitOf(draw, request, COARSE);
    yield;
  }
}

// How often each limit holds among the draws at a point: all together and every single one. A draw
// whose limit is NaN keeps it nowhere.
function sharesAt(draws, replay, logAtpp, into) {
  const atpp = Math.exp(logAtpp);
  for (const draw of draws) {
    let all = draw.target(replay, atpp) - draw.limit <= TOLERANCE;
    if (all) into.target += 1;
    draw.forgetting.forEach((f, i) => {
      const kept = f.value(replay, atpp) - f.limit <= TOLERANCE;
      if (kept) into.forgetting[i] += 1;
      all = all && kept;
    });
    if (all) into.all += 1;
  }
  into.target /= draws.length;
  into.all /= draws.length;
  into.forgetting = into.forgetting.map((count) => count / draws.length);
  return into;
}

function shareOfDraws(draws, replay, logAtpp) {
  let kept = 0;
  const atpp = Math.exp(logAtpp);
  for (const draw of draws)
    if (
      draw.target(replay, atpp) - draw.limit <= TOLERANCE &&
      draw.forgetting.every((f) => f.value(replay, atpp) - f.limit <= TOLERANCE)
    )
      kept += 1;
  return kept / draws.length;
}

// Shares over a grid, row by row (ATPP) of columns (replay); a generator, so that a page stays
// awake meanwhile. Returns {replay, logAtpp, all, target, forgetting: [...]} with arrays of rows.
function* shareMap(space, draws, size) {
  const map = {
    replay: spaced(space.leastReplay, space.mostReplay, size),
    logAtpp: spaced(space.low, space.high, size),
    all: [],
    target: [],
    forgetting: space.forgetting.map(() => []),
  };
  for (const logAtpp of map.logAtpp) {
    const row = map.replay.map((replay) =>
      sharesAt(draws, replay, logAtpp, {
        all: 0,
        target: 0,
        forgetting: space.forgetting.map(() => 0),
      }),
    );
    map.all.push(row.map((share) => share.all));
    map.target.push(row.map((share) => share.target));
    map.forgetting.forEach((rows, i) => rows.push(row.map((share) => share.forgetting[i])));
    yield;
  }
  return map;
}

// The point of least ATPP at which at least `level` of the draws keep all limits, from a share map,
// refined; {feasible: false} with the greatest share found if there is none. Where enough draws
// keep the limits may be narrower than the map's mesh, so its surroundings are looked at closely.
function robustPlan(space, draws, level, map) {
  const enough = (share) => share >= level - 1e-12;
  const shareAt = (replay, logAtpp) => shareOfDraws(draws, replay, logAtpp);
  const within = (replay) => Math.min(Math.max(replay, space.leastReplay), space.mostReplay);
  let width = 2 * (map.replay[1] - map.replay[0]);
  let height = 2 * (map.logAtpp[1] - map.logAtpp[0]);
  const points = map.logAtpp.flatMap((logAtpp, i) =>
    map.replay.map((replay, j) => ({ replay, logAtpp, share: map.all[i][j] })),
  );
  const top = (all) => all.reduce((best, at) => (at.share > best.share ? at : best));
  let best = points.find((at) => enough(at.share)); // rows come in the order of ATPP
  if (best === undefined) {
    const around = top(points);
    const near = spaced(around.logAtpp - height, around.logAtpp + height, 25)
      .filter((logAtpp) => logAtpp >= space.low && logAtpp <= space.high)
      .flatMap((logAtpp) =>
        spaced(around.replay - width, around.replay + width, 25).map((x) => ({
          replay: within(x),
          logAtpp,
          share: shareAt(within(x), logAtpp),
        })),
      );
    const found = top([around, ...near]);
    if (!enough(found.share)) return { feasible: false, ...found };
    best = found;
  }
  for (let round = 0; round < 7; round++, width /= 4, height /= 4) {
    const centre = best.replay;
    for (const near of spaced(centre - width, centre + width, 25)) {
      const replay = within(near);
      for (const down of spaced(0, height, 13)) {
        const logAtpp = Math.max(best.logAtpp - 1e-9 - down, space.low);
        if (logAtpp >= best.logAtpp || !enough(shareAt(replay, logAtpp))) continue;
        best = { replay, logAtpp };
      }
    }
  }
  return { feasible: true, ...best, share: shareAt(best.replay, best.logAtpp) };
}

// The quantile of a list of numbers, linear between them, as numpy's.
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}
