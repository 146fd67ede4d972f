"use strict";

// Plans, from law values alone, by the definitions of Python's planner, which hands over its
// constants (TOLERANCE, BINDING, EDGE, BROKEN, meshes: ptpp/planning/search.py).
// A space is {low, high: log ATPP; leastReplay, mostReplay, minReplay; budget: name of the limit that
// ends ATPP; laws: the target's first, each {name, limit [nats]; value(replay, log ATPP), nats per
// token; exact: the same, slower; draw(i): the i-th draw's value; fill: all draws' into an array}}.

function flopsOf(nParams, atpp) {
  return FLOPS_PER_PARAMETER_AND_TOKEN * nParams * (atpp * nParams);
}

function spaced(low, high, count) {
  return Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
}

function finish(steps) {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

const orInfinite = (value) => (Number.isNaN(value) ? Infinity : value);

// How far a value is beyond a limit; a target limit of NaN is none. What is not a number is
// infinitely bad.
const beyondLimit = (value, limit) => orInfinite(value - (Number.isNaN(limit) ? Infinity : limit));

// Excess over every limit, the target's first.
function excesses(space, limit, replay, logAtpp, kind = "value") {
  return space.laws.map((law, i) => beyondLimit(law[kind](replay, logAtpp), i ? law.limit : limit));
}

// The point {cost, ...} of least cost between low and high: a grid, then closer and closer grids
// around its best point. look(x) gives a point. A generator, so that a page stays awake meanwhile.
function* zooming(look, low, high, mesh) {
  let best = null;
  for (const points of [mesh.points, ...Array(mesh.rounds).fill(mesh.zoom)]) {
    const grid = spaced(low, high, points);
    let place = 0;
    let least = null;
    for (let i = 0; i < points; i++) {
      const at = look(grid[i]);
      if (least === null || at.cost < least.cost) [least, place] = [at, i];
      yield;
    }
    if (best === null || least.cost < best.cost) best = least;
    [low, high] = [grid[Math.max(place - 1, 0)], grid[Math.min(place + 1, points - 1)]];
  }
  return best;
}

// {cost, replay, logAtpp, allowed} of least cost(replay, logAtpp); a cost of BROKEN and more breaks
// a limit.
function* searching(space, mesh, cost) {
  const alongAtpp = (replay) =>
    finish(zooming((logAtpp) => ({ cost: cost(replay, logAtpp), replay, logAtpp }), space.low, space.high, mesh));
  const best = yield* zooming(alongAtpp, space.leastReplay, space.mostReplay, mesh);
  return { ...best, allowed: best.cost < BROKEN / 2 };
}

// The least ATPP, hence compute, within all limits; where there is none, the least worst excess.
function leastCompute(space, limit, mesh) {
  return finish(searching(space, mesh, (replay, logAtpp) => {
    const worst = Math.max(...excesses(space, limit, replay, logAtpp));
    return worst <= TOLERANCE ? logAtpp : BROKEN + worst;
  }));
}

// The least excess of one limit (its place among the laws) within all others.
function leastValue(space, place, limit, mesh) {
  const { laws } = space;
  return finish(searching(space, mesh, (replay, logAtpp) => {
    let others = -Infinity;
    for (let i = 0; i < laws.length; i++)
      if (i !== place) others = Math.max(others, beyondLimit(laws[i].value(replay, logAtpp), i ? laws[i].limit : limit));
    return others <= TOLERANCE ? beyondLimit(laws[place].value(replay, logAtpp), place ? laws[place].limit : limit) : BROKEN + others;
  }));
}

// Does target loss by the law alone fall with ATPP everywhere, as the search takes for granted?
function falls(space) {
  return spaced(space.leastReplay, space.mostReplay, 9).every((replay) => {
    const losses = spaced(space.low, space.high, 25).map((a) => space.laws[0].alone(replay, a));
    return losses.slice(1).every((loss, i) => loss - losses[i] <= TOLERANCE);
  });
}

// The target loss's limit, nats; NaN where it depends on a loss that no point may have.
function limitOf(space, request, mesh) {
  if (request.target !== null) return request.target;
  const best = leastValue(space, 0, 0, mesh);
  return best.allowed ? best.cost + request.within : NaN;
}

// {limit, replay, logAtpp, feasible, shortfall, binding: names as in Python}; refused: the law's
// loss rises with tokens.
function pointPlan(space, request) {
  if (!falls(space)) return { refused: true, feasible: false, limit: NaN };
  const limit = limitOf(space, request, FINE);
  const { cost, replay, logAtpp, allowed: feasible } = leastCompute(space, limit, FINE);
  const over = excesses(space, limit, replay, logAtpp, "exact");
  const shortfall = feasible ? 0 : cost - BROKEN;
  const edge = feasible ? 0 : Math.max(...over);
  const binding = space.laws.map((law) => law.name).filter((_, i) => over[i] >= edge - BINDING);
  if (logAtpp >= space.high - EDGE) binding.push(space.budget);
  if (replay >= space.mostReplay - EDGE) binding.push("max_replay");
  if (feasible && logAtpp <= space.low + EDGE) binding.push("min_atpp");
  if (replay <= space.leastReplay + EDGE && space.leastReplay > space.minReplay) binding.push("least_replay");
  return { limit, replay, logAtpp, feasible, shortfall, binding };
}

// The target loss's limit in every draw: near the best means near that draw's own.
function* drawLimits(space, request) {
  const limits = new Float64Array(space.draws);
  for (let i = 0; i < space.draws; i++) {
    const laws = space.laws.map((law) => ({ ...law, value: law.draw(i) }));
    limits[i] = limitOf({ ...space, laws }, request, COARSE);
    yield;
  }
  return limits;
}

// Excess over every limit in every draw: an array over draws per law.
function drawExcesses(space, limits, replay, logAtpp, kind = "fill") {
  return space.laws.map((law, k) => {
    const over = new Float64Array(space.draws);
    law[kind](replay, logAtpp, over);
    for (let i = 0; i < over.length; i++) over[i] = beyondLimit(over[i], k ? law.limit : limits[i]);
    return over;
  });
}

// In which share of the draws the limits hold at a point: all together and each. A draw without a
// limit of the target loss keeps it nowhere.
function sharesAt(space, limits, replay, logAtpp, kind = "fill") {
  const over = drawExcesses(space, limits, replay, logAtpp, kind);
  const kept = over.map((each, k) => each.map((x, i) => Number(x <= TOLERANCE && (k > 0 || !Number.isNaN(limits[i])))));
  const share = (flags) => flags.reduce((sum, flag) => sum + flag, 0) / flags.length;
  return { all: share(kept[0].map((_, i) => Math.min(...kept.map((each) => each[i])))), each: kept.map(share) };
}

// The least number that a share of the values do not exceed.
function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(Math.ceil(share * sorted.length - 1e-9), 1) - 1];
}

// The least ATPP at which a share `level` of the draws keep all limits at once.
function* robustPlan(space, limits, level) {
  const { allowed, ...best } = yield* searching(space, COARSE, (replay, logAtpp) => {
    const [worst, ...others] = drawExcesses(space, limits, replay, logAtpp);
    for (const other of others) for (let i = 0; i < worst.length; i++) if (other[i] > worst[i]) worst[i] = other[i];
    const over = quantile(worst, level);
    return over <= TOLERANCE ? logAtpp : BROKEN + over;
  });
  return { ...best, feasible: allowed, ...sharesAt(space, limits, best.replay, best.logAtpp, "exactFill") };
}

// Shares over a grid, row by row (ATPP) of columns (replay): {replay, logAtpp, all, each: [...]}
// with arrays of rows.
function* shareMap(space, limits, size) {
  const map = {
    replay: spaced(space.leastReplay, space.mostReplay, size),
    logAtpp: spaced(space.low, space.high, size),
    all: [],
    each: space.laws.map(() => []),
  };
  for (const logAtpp of map.logAtpp) {
    const row = map.replay.map((replay) => sharesAt(space, limits, replay, logAtpp));
    map.all.push(row.map((shares) => shares.all));
    map.each.forEach((rows, k) => rows.push(row.map((shares) => shares.each[k])));
    yield;
  }
  return map;
}

// The least excess of one limit (its place among the laws) that, with all others, a share `level` of
// the draws keep.
function robustValue(space, place, limits, level) {
  return searching(space, COARSE, (replay, logAtpp) => {
    const over = drawExcesses(space, limits, replay, logAtpp);
    const values = over[place].map((value, i) => {
      const others = Math.max(-Infinity, ...over.filter((_, k) => k !== place).map((each) => each[i]));
      return others <= TOLERANCE ? value : BROKEN + others;
    });
    return quantile(values, level);
  });
}
