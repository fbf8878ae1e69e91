/**
 * ln Γ(x) for x > 0, by the Lanczos approximation with g = 7 and nine terms (Press et al., Numerical Recipes, section 6.1; the
 * coefficients are Godfrey's). Relative error below 1e-13.
 */
export function logGamma(x: number): number {
  // Reflection: the series holds for the right half only.
  if (x < 0.5) return Math.log(Math.PI / Math.abs(Math.sin(Math.PI * x))) - logGamma(1 - x);
  const z = x - 1;
  const sum = LANCZOS.reduce((total, coefficient, i) => total + coefficient / (z + i + 1), LANCZOS_FIRST);
  const t = z + LANCZOS_G + 0.5;
  return 0.5 * Math.log(2 * Math.PI) + (z + 0.5) * Math.log(t) - t + Math.log(sum);
}

const LANCZOS_G = 7;
const LANCZOS_FIRST = 0.99999999999980993;
const LANCZOS = [
  676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
  -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

/**
 * ln erfc(x) for any x: the Maclaurin series of erf below 2.5, above it the continued fraction of erfc in the form that cannot
 * underflow (Abramowitz and Stegun 7.1.6 and 7.1.14).
 */
export function logErfc(x: number): number {
  if (x < -2.5) return Math.log(2 - Math.exp(logErfc(-x)));
  if (x < 2.5) return Math.log(1 - erfSeries(x));
  let fraction = 0;
  for (let k = FRACTION_TERMS; k >= 1; k--) fraction = k / 2 / (x + fraction);
  return -x * x - Math.log(Math.sqrt(Math.PI) * (x + fraction));
}

const FRACTION_TERMS = 80;

function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
