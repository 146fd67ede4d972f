"use strict";

// Plans, from law values alone: the definitions and the order of steps are those of ptpp/plan.py.
// A space is {low, high: log ATPP; leastReplay, mostReplay; target: f; forgetting: [{limit, f}]},
// where f(replay, atpp) is a law's value in nats per token. Points are [replay, log ATPP].

const TOLERANCE = 1e-7; // nats: a limit exceeded by less is met
const BINDING = 1e-5; // nats: a limit closer than this is called binding
const STEPS = 80; // of the search along ATPP and along replay
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
function firstHarmless(space, replay, start, end) {
  let before = start;
  for (const logAtpp of spaced(start, end, STEPS)) {
    if (harmless(space, replay, logAtpp))
      return bisected((middle) => harmless(space, replay, middle), logAtpp, before);
    before = logAtpp;
  }
  return NaN;
}

// [x, value] of the least value of f, by zooming in on the best of a grid; NaN is no value.
function least(f, grid) {
  let best = null;
  const look = (x) => {
    const value = f(x);
    if (!Number.isNaN(value) && (best === null || value < best[1])) best = [x, value];
  };
  grid.forEach(look);
  if (best === null) return null;
  let mesh = Math.max(...grid.slice(1).map((x, i) => x - grid[i]));
  for (let round = 0; round < 8; round++, mesh /= 5) {
    const centre = best[0];
    for (const x of spaced(centre - mesh, centre + mesh, 11))
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

function replays(space) {
  return spaced(space.leastReplay, space.mostReplay, STEPS);
}

// A feasible range of replay may be narrower than the grid's mesh: then look around the least
// excess.
function searched(space, limit, f) {
  const found = least(f, replays(space));
  if (found !== null) return found;
  const [replay, logAtpp] = leastExcess(space, limit);
  if (worst(space, limit, replay, logAtpp) > TOLERANCE) return null;
  return least(f, [...replays(space), replay].sort((a, b) => a - b));
}

// The least target loss within all other limits, or NaN. At each replay the greatest harmless ATPP
// is the best, since target loss falls with it.
function bestReachable(space) {
  const found = searched(space, NaN, (replay) => {
    const edge = firstHarmless(space, replay, space.high, space.low);
    return Number.isNaN(edge) ? NaN : space.target(replay, Math.exp(edge));
  });
  return found === null ? NaN : found[1];
}

// The least ATPP, hence compute, that keeps all limits, as a point, or null.
function cheapest(space, limit) {
  return searched(space, limit, (replay) => {
    const reached = (logAtpp) => space.target(replay, Math.exp(logAtpp)) <= limit + TOLERANCE;
    if (!reached(space.high)) return NaN;
    const start = reached(space.low) ? space.low : bisected(reached, space.high, space.low);
    return firstHarmless(space, replay, start, space.high);
  });
}

// The point where the worst excess over the limits is least.
function leastExcess(space, limit) {
  const bestAtpp = (replay) => {
    const f = (logAtpp) => worst(space, limit, replay, logAtpp);
    return least(f, spaced(space.low, space.high, 25));
  };
  const [replay] = least((r) => bestAtpp(r)[1], spaced(space.leastReplay, space.mostReplay, 25));
  return [replay, bestAtpp(replay)[0]];
}

// {limit, replay, logAtpp, feasible, shortfall, binding: indices of excesses}; refused: the law's
// loss rises with tokens.
function pointPlan(space, request) {
  if (!falls(space)) return { refused: true, feasible: false, limit: NaN };
  const limit = request.target ?? bestReachable(space) + request.within;
  const found = Number.isNaN(limit) ? null : cheapest(space, limit);
  const [replay, logAtpp] = found ?? leastExcess(space, limit);
  const over = excesses(space, limit, replay, logAtpp);
  const shortfall = found ? 0 : Math.max(...over);
  const names = [...(Number.isNaN(limit) ? [] : ["target loss"]), ...space.forgetting.map((f) => f.name)];
  const binding = names.filter((_, i) => over[i] >= shortfall - BINDING);
  return { limit, replay, logAtpp, feasible: found !== null, shortfall, binding };
}

// How often each limit holds among the draws (spaces), over a grid: all and every single one.
function sharesAt(draws, limit, replay, logAtpp, into) {
  const atpp = Math.exp(logAtpp);
  for (const draw of draws) {
    let all = draw.target(replay, atpp) - limit <= TOLERANCE;
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

function shareOfDraws(draws, limit, replay, logAtpp) {
  let kept = 0;
  const atpp = Math.exp(logAtpp);
  for (const draw of draws)
    if (
      draw.target(replay, atpp) - limit <= TOLERANCE &&
      draw.forgetting.every((f) => f.value(replay, atpp) - f.limit <= TOLERANCE)
    )
      kept += 1;
  return kept / draws.length;
}

// Shares over a grid, row by row (ATPP) of columns (replay); a generator, so that a page stays
// awake meanwhile. Returns {replay, logAtpp, all, target, forgetting: [...]} with arrays of rows.
function* shareMap(space, draws, limit, size) {
  const map = {
    replay: spaced(space.leastReplay, space.mostReplay, size),
    logAtpp: spaced(space.low, space.high, size),
    all: [],
    target: [],
    forgetting: space.forgetting.map(() => []),
  };
  for (const logAtpp of map.logAtpp) {
    const row = map.replay.map((replay) =>
      sharesAt(draws, limit, replay, logAtpp, {
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

// The point of least ATPP at which at least `level` of the draws keep all limits, from a share map
// and the point plan, refined; {feasible: false} with the greatest share if there is none.
function robustPlan(space, draws, limit, level, map, start) {
  const enough = (replay, logAtpp) =>
    shareOfDraws(draws, limit, replay, logAtpp) >= level - 1e-12;
  const mesh = (space.high - space.low) / (map.logAtpp.length - 1);
  const descend = (replay, logAtpp) => {
    let below = logAtpp;
    do below -= mesh;
    while (below > space.low && enough(replay, below));
    if (below <= space.low && enough(replay, space.low)) return space.low;
    return bisected((a) => enough(replay, a), Math.min(below + mesh, logAtpp), Math.max(below, space.low), 30);
  };
  let best = null;
  let top = { share: -1 };
  map.logAtpp.forEach((logAtpp, i) =>
    map.replay.forEach((replay, j) => {
      const share = map.all[i][j];
      if (share > top.share) top = { share, replay, logAtpp };
      if (best === null && share >= level - 1e-12) best = { row: i };
    }),
  );
  if (best === null) {
    if (start && enough(start.replay, start.logAtpp)) top = { ...start, share: level };
    else return { feasible: false, ...top };
    best = { replay: start.replay, logAtpp: descend(start.replay, start.logAtpp) };
  } else {
    const row = best.row;
    best = null;
    map.replay.forEach((replay, j) => {
      if (map.all[row][j] < level - 1e-12) return;
      const logAtpp = descend(replay, map.logAtpp[row]);
      if (best === null || logAtpp < best.logAtpp) best = { replay, logAtpp };
    });
  }
  let width = map.replay[1] - map.replay[0];
  for (let round = 0; round < 7; round++, width /= 4) {
    const centre = best.replay;
    for (const near of spaced(centre - width, centre + width, 9)) {
      const replay = Math.min(Math.max(near, space.leastReplay), space.mostReplay);
      const wanted = best.logAtpp - 1e-9;
      if (wanted > space.low && enough(replay, wanted))
        best = { replay, logAtpp: descend(replay, wanted) };
    }
  }
  return {
    feasible: true,
    share: shareOfDraws(draws, limit, best.replay, best.logAtpp),
    ...best,
  };
}

// The quantile of a list of numbers, linear between them, as numpy's.
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}
