"use strict";

// Kriged forecasts: a law corrected by its misfit, and how far it may be off, as in Python
// (ptpp/laws/kriging.py). Points are new checkpoints, forecast as the mean over many runs: the terms
// of the same checkpoint or run, and the noise of a run, are 0 there.

const KNOTS = { replay: 41, tokens: 33 }; // of the splines that stand for many points, as in Python
const STRETCH = 0.02; // keeps the coordinate of replay finite at 0

const stretch = (replay) => Math.log((replay + STRETCH) / (1 - replay));
const unstretch = (place) => (Math.exp(place) - STRETCH) / (1 + Math.exp(place));

function numbersOf(text) {
  return new Float64Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

// Factors of the covariance between cells and one place, an array over the cells each. `place`:
// {coordinate: value, "same size": the size}. A factor that no cell has is 1, or 0 where it relates.
function factorOf(misfit, name, place) {
  const [kind, rest] = name.split(" ");
  const values = misfit.coordinates[rest ?? kind];
  if (kind === "same") return misfit.groups[rest]?.map((group) => Number(group === place[name])) ?? 0;
  if (kind === "linear") return values?.map((value) => value * place[rest]) ?? 0;
  return values?.map((value) => Math.exp(-(((value - place[name]) / misfit.lengths[name]) ** 2) / 2)) ?? 1;
}

// Covariance (n) of all cells with cell j, with what only measured cells share.
function betweenCells(misfit, j) {
  const { coordinates, groups, runs, terms, tau } = misfit;
  const place = Object.fromEntries(Object.entries(coordinates).map(([name, values]) => [name, values[j]]));
  for (const [name, values] of Object.entries(groups)) place[`same ${name}`] = values[j];
  const total = new Float64Array(runs.length);
  const factors = {};
  for (const { variance, factors: names, scaled } of terms) {
    for (const name of names) factors[name] ??= factorOf(misfit, name, place);
    for (let i = 0; i < total.length; i++) {
      let product = variance * (scaled ? tau ** 2 : 1);
      for (const name of names) {
        product *= factors[name][i] ?? factors[name];
        if (name === "same checkpoint" || name === "same run") product /= Math.sqrt(runs[i] * runs[j]);
      }
      total[i] += product;
    }
  }
  return total;
}

// The lower triangle L, row by row, of a symmetric matrix L L' given by its rows.
function cholesky(rows) {
  rows.forEach((row, i) => {
    for (let j = 0; j <= i; j++) {
      let sum = row[j];
      const other = rows[j];
      for (let k = 0; k < j; k++) sum -= row[k] * other[k];
      row[j] = i === j ? Math.sqrt(sum) : sum / other[j];
    }
  });
  return rows;
}

function forward(lower, values) {
  const solved = new Float64Array(values.length);
  lower.forEach((row, i) => {
    let sum = values[i];
    for (let k = 0; k < i; k++) sum -= row[k] * solved[k];
    solved[i] = sum / row[i];
  });
  return solved;
}

// Once per fit: the numbers of its misfit, and the factor of the covariance of its cells, in which
// the law's parameters are as uncertain as their prior says.
const unpacked = new Map();

function misfitOf(fit) {
  if (unpacked.has(fit)) return unpacked.get(fit);
  const packed = fit.misfit;
  const arrays = (packs) => Object.fromEntries(Object.entries(packs).map(([name, text]) => [name, numbersOf(text)]));
  const misfit = { ...packed, coordinates: arrays(packed.coordinates), groups: arrays(packed.groups) };
  for (const name of ["runs", "weights", "slopes"]) misfit[name] = numbersOf(packed[name]);
  const width = packed.prior.length;
  misfit.slopesOf = Array.from(misfit.runs, (_, i) => misfit.slopes.subarray(i * width, (i + 1) * width));
  let lower = null;
  misfit.lower = () => {
    lower ??= cholesky(
      misfit.slopesOf.map((mine, j) => {
        const row = betweenCells(misfit, j);
        row[j] += packed.noise / misfit.runs[j];
        const weighed = packed.prior.map((prior, p) => prior * mine[p]);
        return row.map((value, i) => value + weighed.reduce((sum, w, p) => sum + w * misfit.slopesOf[i][p], 0));
      }),
    );
    return lower;
  };
  unpacked.set(fit, misfit);
  return misfit;
}

// The forecast of one checkpoint by a fit: {logLoss, spread} as functions of replay and log ATPP.
// `loss`: the law's [loss, derivatives in the solver's parameters] at replay and ATPP.
function kriged(fit, model, loss) {
  const misfit = misfitOf(fit);
  const { terms, tau, weights, prior, drift, largest } = misfit;
  const size = Math.log(model.n_params);
  const fixed = { state: misfit.reads === "ptpp" ? Math.log(model.ptpp) : model[misfit.reads], size };
  fixed.later = Math.log2(model.ptpp / misfit.last_stage);
  fixed["same size"] = Number(model.n_params.toPrecision(9));
  const varying = (name) => ["atpp", "mix", "linear slope"].includes(name);
  // Terms with the same varying factors are one: a sum over what the checkpoint alone decides.
  const sums = new Map();
  let before = 0;
  for (const { variance, factors, scaled } of terms) {
    if (factors.some((name) => name === "same checkpoint" || name === "same run")) continue;
    const key = factors.filter(varying).join();
    if (!sums.has(key)) sums.set(key, { names: factors.filter(varying), own: 0, cells: new Float64Array(weights.length) });
    const sum = sums.get(key);
    const scale = variance * (scaled ? tau ** 2 : 1);
    const known = factors.filter((name) => !varying(name)).map((name) => [name, factorOf(misfit, name, fixed)]);
    for (let i = 0; i < weights.length; i++) sum.cells[i] += known.reduce((product, [, f]) => product * (f[i] ?? f), scale);
    const squares = known.map(([name]) => (name === "linear later" ? ("later" in misfit.coordinates ? fixed.later ** 2 : 0) : 1));
    sum.own += squares.reduce((product, square) => product * square, scale);
  }
  const memory = {};
  const remember = (name, at, make) => {
    const known = (memory[name] ??= new Map());
    if (known.size > 200) known.clear();
    if (!known.has(at)) known.set(at, make());
    return known.get(at);
  };
  // Covariance of the point with the cells, and its own variance.
  const covariance = (replay, logAtpp) => {
    const mix = Math.log(Math.max(misfit.offset ? replay : 1 - replay, misfit.least_mix));
    const place = { atpp: logAtpp, mix, slope: misfit.offset ? -0.5 * mix : mix };
    const total = new Float64Array(weights.length);
    let own = 0;
    for (const { names, own: alone, cells } of sums.values()) {
      const factors = names.map((name) => remember(name, name === "atpp" ? logAtpp : replay, () => factorOf(misfit, name, place)));
      own += names.includes("linear slope") ? ("slope" in misfit.coordinates ? place.slope ** 2 : 0) * alone : alone;
      const [first, second] = factors.map((f) => (typeof f === "number" ? total.map(() => f) : f));
      for (let i = 0; i < total.length; i++) total[i] += cells[i] * (first ? first[i] : 1) * (second ? second[i] : 1);
    }
    return { total, own };
  };
  const beyond = "size" in misfit.coordinates ? drift ** 2 * Math.max(size - largest, 0) : 0;
  return {
    logLoss(replay, logAtpp) {
      const { total } = covariance(replay, logAtpp);
      return total.reduce((sum, value, i) => sum + value * weights[i], Math.log(loss(replay, Math.exp(logAtpp))[0]));
    },
    spread(replay, logAtpp) {
      const [value, ...derivatives] = loss(replay, Math.exp(logAtpp));
      const slopes = derivatives.map((each) => each / value);
      const weighed = slopes.map((slope, p) => slope * prior[p]);
      const { total, own } = covariance(replay, logAtpp);
      for (let i = 0; i < total.length; i++) for (let p = 0; p < weighed.length; p++) total[i] += weighed[p] * misfit.slopesOf[i][p];
      const told = forward(misfit.lower(), total).reduce((sum, x) => sum + x * x, 0);
      const prior_ = slopes.reduce((sum, slope, p) => sum + slope * weighed[p], own);
      return Math.sqrt(Math.max(prior_ - told + beyond, 1e-12));
    },
  };
}

// A cubic spline through values(replay, log ATPP) at the knots of a range, not a knot second from
// each end, as scipy's RectBivariateSpline: a generator, since its values take a while.
function* splineOf(values, [least, most], [low, high]) {
  const places = spaced(stretch(least), stretch(most), KNOTS.replay);
  const steps = spaced(low, high, KNOTS.tokens);
  const f = [];
  for (const place of places) {
    f.push(steps.map((step) => values(unstretch(place), step)));
    yield;
  }
  const turn = (rows) => rows[0].map((_, j) => rows.map((row) => row[j]));
  const fy = f.map(derivatives);
  const fx = turn(turn(f).map(derivatives));
  const fxy = turn(turn(fy).map(derivatives));
  const hermite = (t) => [(1 + 2 * t) * (1 - t) ** 2, t * t * (3 - 2 * t), t * (1 - t) ** 2, t * t * (t - 1)];
  return (replay, logAtpp) => {
    const x = ((stretch(replay) - places[0]) / (places[places.length - 1] - places[0])) * (places.length - 1);
    const y = ((logAtpp - low) / (high - low)) * (steps.length - 1);
    const i = Math.min(Math.max(Math.floor(x), 0), places.length - 2);
    const j = Math.min(Math.max(Math.floor(y), 0), steps.length - 2);
    const [a, b, c, d] = hermite(x - i);
    const [p, q, r, s] = hermite(y - j);
    const along = (k) => [p * f[k][j] + q * f[k][j + 1] + r * fy[k][j] + s * fy[k][j + 1], p * fx[k][j] + q * fx[k][j + 1] + r * fxy[k][j] + s * fxy[k][j + 1]];
    const [before, after] = [along(i), along(i + 1)];
    return a * before[0] + b * after[0] + c * before[1] + d * after[1];
  };
}

// Slopes per step of the spline through values at even steps.
function derivatives(values) {
  const n = values.length;
  const right = values.map((value, i) => 3 * (values[i + 1] - values[i - 1]));
  right[0] = (-5 * values[0] + 4 * values[1] + values[2]) / 2;
  right[n - 1] = (5 * values[n - 1] - 4 * values[n - 2] - values[n - 3]) / 2;
  const upper = [2];
  for (let i = 1; i < n; i++) {
    const [below, middle, above] = i === n - 1 ? [2, 1, 0] : [1, 4, 1];
    const pivot = middle - below * upper[i - 1];
    upper[i] = above / pivot;
    right[i] = (right[i] - below * right[i - 1]) / pivot;
  }
  for (let i = n - 2; i >= 0; i--) right[i] -= upper[i] * right[i + 1];
  return right;
}
