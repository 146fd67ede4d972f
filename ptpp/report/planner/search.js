"use strict";

// Plans, from law values alone, by the definitions and in the order of steps of Python's planner.
// A space is {low, high: log ATPP; leastReplay, mostReplay; target: f; forgetting: [{limit, f}]},
// where f(replay, atpp) is a law's value in nats per token. Points are [replay, log ATPP].

const TOLERANCE = 1e-7; // nats: a limit exceeded by less is met
const BINDING = 1e-5; // nats: a limit closer than this is called binding
// Points of the first grid along each axis; closer grids have `zoom` points, `rounds` times.
const FINE = { points: 80, zoom: 11, rounds: 8 };
const COARSE = { points: 32, zoom: 9, rounds: 6 }; // for searches over hundreds of draws
const FLOPS_PER_PARAMETER_AND_TOKEN = 6;

function flopsOf(nParams, atpp) {
  return FLOPS_PER_PARAMETER_AND_TOKEN * nParams * (atpp * nParams);
}

function spaced(low, high, count) {
  return Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
}

function bisected(accepted, inside, outside, rounds = 45) {
  for (let i = 0; i < rounds; i++) {
    const middle = (inside + outside) / 2;
    if (accepted(middle)) inside = middle;
    else outside = middle;
  }
  return inside;
}

// Excess over every limit, the target's first unless its limit is NaN.
function excesses(space, limit, replay, logAtpp) {
  const atpp = Math.exp(logAtpp);
  const found = space.forgetting.map((f) => f.value(replay, atpp) - f.limit);
  return Number.isNaN(limit) ? found : [space.target(replay, atpp) - limit, ...found];
}

function worst(space, limit, replay, logAtpp) {
  return Math.max(-Infinity, ...excesses(space, limit, replay, logAtpp));
}

function harmless(space, replay, logAtpp) {
  const atpp = Math.exp(logAtpp);
  return space.forgetting.every((f) => f.value(replay, atpp) - f.limit <= TOLERANCE);
}

// The first log ATPP on the way from start to end within all forgetting limits, or NaN.
function firstHarmless(space, replay, start, end, mesh) {
  let before = start;
  for (const logAtpp of spaced(start, end, mesh.points)) {
    if (harmless(space, replay, logAtpp))
      return bisected((middle) => harmless(space, replay, middle), logAtpp, before);
    before = logAtpp;
  }
  return NaN;
}

// [x, value] of the least value of f, by zooming in on the best of a grid; NaN is no value.
function least(f, grid, mesh) {
  let best = null;
  const look = (x) => {
    const value = f(x);
    if (!Number.isNaN(value) && (best === null || value < best[1])) best = [x, value];
  };
  grid.forEach(look);
  if (best === null) return null;
  let width = Math.max(...grid.slice(1).map((x, i) => x - grid[i]));
  for (let round = 0; round < mesh.rounds; round++, width /= (mesh.zoom - 1) / 2) {
    const centre = best[0];
    for (const x of spaced(centre - width, centre + width, mesh.zoom))
      look(Math.min(Math.max(x, grid[0]), grid[grid.length - 1]));
  }
  return best;
}

// Does target loss fall with ATPP everywhere, as the search takes for granted?
function falls(space) {
  return spaced(space.leastReplay, space.mostReplay, 9).every((replay) => {
    const losses = spaced(space.low, space.high, 25).map((a) => space.target(replay, Math.exp(a)));
    return losses.slice(1).every((loss, i) => loss - losses[i] <= TOLERANCE);
  });
}

function replays(space, mesh) {
  return spaced(space.leastReplay, space.mostReplay, mesh.points);
}

// A feasible range of replay may be narrower than the grid's mesh: then look around the least
// excess.
function searched(space, limit, f, mesh) {
  const found = least(f, replays(space, mesh), mesh);
  if (found !== null) return found;
  const [replay, logAtpp] = leastExcess(space, limit, mesh);
  if (worst(space, limit, replay, logAtpp) > TOLERANCE) return null;
  return least(f, [...replays(space, mesh), replay].sort((a, b) => a - b), mesh);
}

// The least target loss within all other limits, or NaN. At each replay the greatest harmless ATPP
// is the best, since target loss falls with it.
function bestReachable(space, mesh) {
  const loss = (replay) => {
    const edge = firstHarmless(space, replay, space.high, space.low, mesh);
    return Number.isNaN(edge) ? NaN : space.target(replay, Math.exp(edge));
  };
  const found = searched(space, NaN, loss, mesh);
  return found === null ? NaN : found[1];
}

// The least ATPP, hence compute, that keeps all limits, as a point, or null.
function cheapest(space, limit) {
  const leastAtpp = (replay) => {
    const reached = (logAtpp) => space.target(replay, Math.exp(logAtpp)) <= limit + TOLERANCE;
    if (!reached(space.high)) return NaN;
    const start = reached(space.low) ? space.low : bisected(reached, space.high, space.low);
    return firstHarmless(space, replay, start, space.high, FINE);
  };
  return searched(space, limit, leastAtpp, FINE);
}

// The point where the worst excess over the limits is least.
function leastExcess(space, limit, mesh) {
  const bestAtpp = (replay) => {
    const f = (logAtpp) => worst(space, limit, replay, logAtpp);
    return least(f, spaced(space.low, space.high, 25), mesh);
  };
  const some = spaced(space.leastReplay, space.mostReplay, 25);
  const [replay] = least((r) => bestAtpp(r)[1], some, mesh);
  return [replay, bestAtpp(replay)[0]];
}

// The target loss asked for, nats; NaN where it depends on a loss that no point may have.
function limitOf(space, request, mesh) {
  return request.target ?? bestReachable(space, mesh) + request.within;
}

// {limit, replay, logAtpp, feasible, shortfall, binding: indices of excesses}; refused: the law's
// loss rises with tokens.
function pointPlan(space, request) {
  if (!falls(space)) return { refused: true, feasible: false, limit: NaN };
  const limit = limitOf(space, request, FINE);
  const found = Number.isNaN(limit) ? null : cheapest(space, limit);
  const [replay, logAtpp] = found ?? leastExcess(space, limit, FINE);
  const over = excesses(space, limit, replay, logAtpp);
  const shortfall = found ? 0 : Math.max(...over);
  const names = [...(Number.isNaN(limit) ? [] : ["target loss"]), ...space.forgetting.map((f) => f.name)];
  const binding = names.filter((_, i) => over[i] >= shortfall - BINDING);
  return { limit, replay, logAtpp, feasible: found !== null, shortfall, binding };
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
