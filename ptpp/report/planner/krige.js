"use strict";

// Kriged forecasts: a law corrected by its misfit, and how far it may be off, as in Python
// (ptpp/laws/kriging.py). Points are new checkpoints, forecast as the mean over many runs: the terms
// of the same checkpoint or run, and the noise of a run, are 0 there.

const OF_RUNS = ["same checkpoint", "same run"];

const stretch = (replay) => Math.log((replay + STRETCH) / (1 - replay));
const unstretch = (place) => (Math.exp(place) - STRETCH) / (1 + Math.exp(place));

function numbersOf(text) {
  return new Float64Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

// A factor of the covariance between all cells and one place: an array, or a number where no cell has
// its coordinate. `place`: {coordinate: value, "same <group>": the group}.
function factorOf(misfit, name, place) {
  const [kind, rest] = name.split(" ");
  const values = kind === "same" ? misfit.groups[rest] : misfit.coordinates[rest ?? kind];
  if (kind === "same") return values?.map((group) => Number(group === place[name])) ?? 0;
  if (kind === "linear") return values?.map((value) => value * place[rest]) ?? 0;
  return values?.map((value) => Math.exp(-(((value - place[name]) / misfit.lengths[name]) ** 2) / 2)) ?? 1;
}

// Sum over terms of the products of factors, an array over cells. factor(name): an array or a number.
function sumOfTerms(misfit, factor) {
  const total = new Float64Array(misfit.runs.length);
  for (const { variance, factors, scaled } of misfit.terms) {
    const product = new Float64Array(total.length).fill(variance * (scaled ? misfit.tau ** 2 : 1));
    for (const each of factors.map(factor)) for (let i = 0; i < product.length; i++) product[i] *= each[i] ?? each;
    for (let i = 0; i < product.length; i++) total[i] += product[i];
  }
  return total;
}

// Covariance (n) of all cells with cell j.
function betweenCells(misfit, j) {
  const { coordinates, groups, runs } = misfit;
  const place = Object.fromEntries(Object.entries(coordinates).map(([name, values]) => [name, values[j]]));
  for (const [name, values] of Object.entries(groups)) place[`same ${name}`] = values[j];
  const known = {};
  return sumOfTerms(misfit, (name) => {
    known[name] ??= factorOf(misfit, name, place);
    // A mean over runs shares less.
    return OF_RUNS.includes(name) && known[name] ? known[name].map((same, i) => same / Math.sqrt(runs[i] * runs[j])) : known[name];
  });
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
  const { coordinates, tau, weights, prior, drift, largest } = misfit;
  const size = Math.log(model.n_params);
  const place = { size, "same size": Number(model.n_params.toPrecision(9)) };
  place.state = misfit.reads === "ptpp" ? Math.log(model.ptpp) : model[misfit.reads];
  place.later = Math.log2(model.ptpp / misfit.last_stage);
  // Terms with the same varying factors are one: a sum over what the checkpoint alone decides, for
  // every cell and (`own`) for the point itself.
  const varying = (name) => ["atpp", "mix", "linear slope"].includes(name);
  const sums = new Map();
  for (const term of misfit.terms) {
    const names = term.factors.filter(varying);
    const fixed = { ...term, factors: term.factors.filter((name) => !varying(name)) };
    const cells = sumOfTerms({ ...misfit, terms: [fixed] }, (name) => factorOf(misfit, name, place));
    const own = fixed.factors.map((name) => (OF_RUNS.includes(name) ? 0 : name === "linear later" ? (coordinates.later ? place.later ** 2 : 0) : 1));
    const sum = sums.get(names.join()) ?? { names, own: 0, cells: new Float64Array(weights.length) };
    sums.set(names.join(), { names, own: sum.own + own.reduce((a, b) => a * b, term.variance * (term.scaled ? tau ** 2 : 1)), cells: sum.cells.map((value, i) => value + cells[i]) });
  }
  const memory = new Map();
  const factor = (name, at) => {
    const key = `${name} ${name === "atpp" ? at.atpp : at.mix}`;
    if (memory.size > 400) memory.clear();
    if (!memory.has(key)) memory.set(key, factorOf(misfit, name, at));
    return memory.get(key);
  };
  // Covariance of a point with the cells, and its own variance.
  const covariance = (replay, logAtpp) => {
    const mix = Math.log(Math.max(misfit.offset ? replay : 1 - replay, misfit.least_mix));
    const at = { atpp: logAtpp, mix, slope: misfit.offset ? -0.5 * mix : mix };
    const total = new Float64Array(weights.length);
    let own = 0;
    for (const { names, own: alone, cells } of sums.values()) {
      own += alone * (names.includes("linear slope") ? (coordinates.slope ? at.slope ** 2 : 0) : 1);
      const [first, second] = names.map((name) => factor(name, at));
      for (let i = 0; i < total.length; i++) total[i] += cells[i] * (first?.[i] ?? first ?? 1) * (second?.[i] ?? second ?? 1);
    }
    return { total, own };
  };
  const beyond = coordinates.size ? drift ** 2 * Math.max(size - largest, 0) : 0;
  return {
    logLoss(replay, logAtpp) {
      const [law] = loss(replay, Math.exp(logAtpp));
      if (!(law > 0)) return Math.log(NO_LOSS);
      const { total } = covariance(replay, logAtpp);
      return total.reduce((sum, value, i) => sum + value * weights[i], Math.log(law));
    },
    spread(replay, logAtpp) {
      const [value, ...derivatives] = loss(replay, Math.exp(logAtpp));
      if (!(value > 0)) return 0;
      const slopes = derivatives.map((each) => each / value);
      const weighed = slopes.map((slope, p) => slope * prior[p]);
      const { total, own } = covariance(replay, logAtpp);
      for (let i = 0; i < total.length; i++) for (let p = 0; p < weighed.length; p++) total[i] += weighed[p] * misfit.slopesOf[i][p];
      const told = forward(misfit.lower(), total).reduce((sum, x) => sum + x * x, 0);
      const before = slopes.reduce((sum, slope, p) => sum + slope * weighed[p], own);
      return Math.sqrt(Math.max(before - told + beyond, 1e-12));
    },
  };
}

// A cubic spline through values(replay, log ATPP) at the knots of a range, whose second and last but
// one are no knots, as scipy's RectBivariateSpline: a generator, since its values take a while. A
// search asks for many ATPP at one replay ratio, so the curve along ATPP there is kept.
function* splineOf(values, { first, last, low, high }) {
  const steps = spaced(low, high, KNOTS.tokens);
  const rows = [];
  for (const place of spaced(first, last, KNOTS.replay)) {
    rows.push(steps.map((step) => values(unstretch(place), step)));
    yield;
  }
  const turn = (some) => some[0].map((_, j) => some.map((row) => row[j]));
  const across = (some) => turn(turn(some).map(derivatives));
  const up = rows.map(derivatives);
  const [f, fy, fx, fxy] = [rows, up, across(rows), across(up)].map((some) => some.map((row) => Float64Array.from(row)));
  const [curve, slope] = [new Float64Array(KNOTS.tokens), new Float64Array(KNOTS.tokens)];
  let kept = null;
  const keep = (replay) => {
    const x = ((stretch(replay) - first) / (last - first)) * (KNOTS.replay - 1);
    const i = Math.min(Math.max(Math.floor(x), 0), KNOTS.replay - 2);
    const [a, b, c, d] = hermite(x - i);
    for (let j = 0; j < curve.length; j++) {
      curve[j] = a * f[i][j] + b * f[i + 1][j] + c * fx[i][j] + d * fx[i + 1][j];
      slope[j] = a * fy[i][j] + b * fy[i + 1][j] + c * fxy[i][j] + d * fxy[i + 1][j];
    }
    kept = replay;
  };
  return (replay, logAtpp) => {
    if (replay !== kept) keep(replay);
    const y = ((logAtpp - low) / (high - low)) * (KNOTS.tokens - 1);
    const j = Math.min(Math.max(Math.floor(y), 0), KNOTS.tokens - 2);
    const t = y - j;
    const rise = curve[j + 1] - curve[j];
    return curve[j] + t * (slope[j] + t * (3 * rise - 2 * slope[j] - slope[j + 1] + t * (slope[j] + slope[j + 1] - 2 * rise)));
  };
}

// The weights of two ends, their values and their slopes, between them.
const hermite = (t) => [(1 + 2 * t) * (1 - t) ** 2, t * t * (3 - 2 * t), t * (1 - t) ** 2, t * t * (t - 1)];

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
