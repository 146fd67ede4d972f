"use strict";

// Plans, from law values alone, by the definitions of Python's planner, which hands over its
// constants (TOLERANCE, BINDING, EDGE, BROKEN, meshes: ptpp/planning/search.py).
// A space is {low, high: log ATPP; leastReplay, mostReplay; budget: name of the limit that ends
// ATPP; draws: how many; laws: the target's first, each {name, limit [nats]; value(replay, log
// ATPP), nats per token; exact: the same, slower; draw(i): the i-th draw's value; fill and exactFill:
// all draws' into an array}}. Limits of the target loss come as an array over draws.

const flopsOf = (nParams, atpp) => FLOPS_PER_PARAMETER_AND_TOKEN * nParams * (atpp * nParams);
const spaced = (low, high, count) => Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));

// Run a generator to its end.
function finish(steps) {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

// A space of one draw: the forecasts themselves, or draw i.
function single(space, i = null) {
  const laws = space.laws.map((law) => {
    const value = i === null ? law.value : law.draw(i);
    return { ...law, fill: (replay, logAtpp, out) => (out[0] = value(replay, logAtpp)), exactFill: (replay, logAtpp, out) => (out[0] = law.exact(replay, logAtpp)) };
  });
  return { ...space, laws, draws: 1 };
}

// A function of a point: excess over every limit (an array over draws per law). A target limit of
// NaN is none. What is not a number is infinitely bad.
function excessesOf(space, limits) {
  const over = space.laws.map(() => new Float64Array(space.draws));
  return (replay, logAtpp, kind = "fill") => {
    space.laws.forEach((law, k) => {
      law[kind](replay, logAtpp, over[k]);
      for (let i = 0; i < space.draws; i++) {
        const limit = k ? law.limit : limits[i];
        const value = over[k][i] - (Number.isNaN(limit) ? Infinity : limit);
        over[k][i] = Number.isNaN(value) ? Infinity : value;
      }
    });
    return over;
  };
}

// The worst excess of draw i over all limits but one.
function worstOf(over, i, except = -1) {
  let worst = -Infinity;
  for (let k = 0; k < over.length; k++) if (k !== except && over[k][i] > worst) worst = over[k][i];
  return worst;
}

// The least number that a share of the values do not exceed.
function quantile(values, share) {
  if (values.length === 1) return values[0];
  return Float64Array.from(values).sort()[Math.max(Math.ceil(share * values.length - 1e-9), 1) - 1];
}

// The point {cost, ...} of least cost between low and high: a grid, then closer and closer grids
// around its best point. look(x) gives a point. `rest`: stop after every look, so that a page stays
// awake meanwhile.
function* zooming(look, low, high, mesh, rest = false) {
  let best = null;
  for (const points of [mesh.points, ...Array(mesh.rounds).fill(mesh.zoom)]) {
    const grid = spaced(low, high, points);
    let place = 0;
    let least = null;
    for (let i = 0; i < points; i++) {
      const at = look(grid[i]);
      if (least === null || at.cost < least.cost) [least, place] = [at, i];
      if (rest) yield;
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
  const best = yield* zooming(alongAtpp, space.leastReplay, space.mostReplay, mesh, true);
  return { ...best, allowed: best.cost < BROKEN / 2 };
}

// The least ATPP, hence compute, within all limits in a share `level` of the draws; where there is
// none, the least worst excess.
function leastCompute(space, limits, mesh, level = 1) {
  const [excesses, worst] = [excessesOf(space, limits), new Float64Array(space.draws)];
  return searching(space, mesh, (replay, logAtpp) => {
    const over = excesses(replay, logAtpp);
    for (let i = 0; i < worst.length; i++) worst[i] = worstOf(over, i);
    const most = quantile(worst, level);
    return most <= TOLERANCE ? logAtpp : BROKEN + most;
  });
}

// The least excess of one limit (its place among the laws) that, with all others, a share `level` of
// the draws keep.
function leastValue(space, place, limits, mesh, level = 1) {
  const [excesses, values] = [excessesOf(space, limits), new Float64Array(space.draws)];
  return searching(space, mesh, (replay, logAtpp) => {
    const over = excesses(replay, logAtpp);
    for (let i = 0; i < values.length; i++) {
      const others = worstOf(over, i, place);
      values[i] = others <= TOLERANCE ? over[place][i] : BROKEN + others;
    }
    return quantile(values, level);
  });
}

// Does target loss by the law alone fall with ATPP everywhere, as the search takes for granted?
function falls(space) {
  return spaced(space.leastReplay, space.mostReplay, 20).every((replay) => {
    const losses = spaced(space.low, space.high, 25).map((a) => space.laws[0].alone(replay, a));
    return losses.slice(1).every((loss, i) => loss - losses[i] <= TOLERANCE);
  });
}

// The target loss's limit in a space of one draw; NaN where it depends on a loss that no point may
// have.
function limitOf(one, request, mesh) {
  if (request.target !== null) return request.target;
  const best = finish(leastValue(one, 0, [0], mesh));
  return best.allowed ? best.cost + request.within : NaN;
}

// {limit, replay, logAtpp, feasible, shortfall, binding: names as in Python}; refused: the law's
// loss rises with tokens.
function pointPlan(space, request) {
  if (!falls(space)) return { refused: true, feasible: false, limit: NaN };
  const one = single(space);
  const limit = limitOf(one, request, FINE);
  const { cost, replay, logAtpp, allowed: feasible } = finish(leastCompute(one, [limit], FINE));
  const over = excessesOf(one, [limit])(replay, logAtpp, "exactFill").map(([value]) => value);
  const edge = feasible ? 0 : Math.max(...over);
  const binding = space.laws.map((law) => law.name).filter((_, i) => over[i] >= edge - BINDING);
  const searched = space.leastReplay < space.mostReplay;
  if (searched && replay <= space.leastReplay + EDGE && space.leastReplay > 0) binding.push("least_replay");
  if (logAtpp >= space.high - EDGE) binding.push(space.budget);
  if (searched && replay >= space.mostReplay - EDGE) binding.push("max_replay");
  if (feasible && logAtpp <= space.low + EDGE) binding.push("min_atpp");
  return { limit, replay, logAtpp, feasible, shortfall: feasible ? 0 : cost - BROKEN, binding };
}

// The target loss's limit in every draw: near the best means near that draw's own.
function* drawLimits(space, request) {
  const limits = new Float64Array(space.draws);
  for (let i = 0; i < space.draws; i++) {
    limits[i] = limitOf(single(space, i), request, OF_DRAWS);
    yield;
  }
  return limits;
}

// In which share of the draws all limits hold at a point. A draw without a limit of the target loss
// keeps it nowhere.
function shareAt(space, limits, replay, logAtpp, kind = "fill") {
  const over = excessesOf(space, limits)(replay, logAtpp, kind);
  over[0].forEach((_, i) => (over[0][i] = Number.isNaN(limits[i]) ? Infinity : over[0][i]));
  return limits.reduce((kept, _, i) => kept + Number(worstOf(over, i) <= TOLERANCE), 0) / limits.length;
}

// The least ATPP at which a share `level` of the draws keep all limits at once.
function* robustPlan(space, limits, level) {
  const { allowed, ...best } = yield* leastCompute(space, limits, COARSE, level);
  return { ...best, feasible: allowed, all: shareAt(space, limits, best.replay, best.logAtpp, "exactFill") };
}

// Shares over a grid, row by row (ATPP) of columns (replay): {logAtpp, replay, all} with rows.
function* shareMap(space, limits, size) {
  const map = { replay: spaced(space.leastReplay, space.mostReplay, size), logAtpp: spaced(space.low, space.high, size), all: [] };
  for (const logAtpp of map.logAtpp) {
    map.all.push(map.replay.map((replay) => shareAt(space, limits, replay, logAtpp)));
    yield;
  }
  return map;
}
