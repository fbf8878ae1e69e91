import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bestEpsilon,
  noiseFor,
  type PrivacyPhase,
  spentPrivacy,
  stepPrivacy,
  stepsWithin,
  withSteps,
} from '../../../../runtime/training/privacy/accountant.ts';
import { logErfc, logGamma } from '../../../../runtime/training/privacy/special-functions.ts';

const whole = Array.from({ length: 31 }, (_, i) => i + 2);

describe('values that others published', () => {
  test('Opacus: accountants_test.py, RDP', () => {
    const spent = spentPrivacy([{ noiseMultiplier: 1.5, sampleRate: 0.04, steps: 60 * 150 * 0.25 }], 1e-5);
    expect(spent.epsilon).toBeCloseTo(7.32911117143, 10);
    expect(spent.order).toBeCloseTo(3.9, 10);
  });

  test.each([
    [90 * 25, 1.416],
    [2000, 1.3562],
  ])('Opacus: get_noise_multiplier for %i steps', (steps, wanted) => {
    expect(noiseFor({ epsilon: 8, delta: 1e-5, sampleRate: 0.04, steps })).toBeCloseTo(wanted, 4);
  });

  test('Opacus: rdp.py, a run of two phases', () => {
    const history = [
      { sampleRate: 1e-5, noiseMultiplier: 1, steps: 10 },
      { sampleRate: 1e-4, noiseMultiplier: 3, steps: 4 },
    ];
    const spent = spentPrivacy(history, 1e-5, whole);
    expect(spent.epsilon).toBeCloseTo(0.336, 3);
    expect(spent.order).toBe(23);
  });

  test.each([
    [5, 2.18075656e-3],
    [50, 2.38460375e-2],
    [100, 167.416308],
  ])('dp_accounting: fifty steps at order %i', (order, wanted) => {
    expect((50 * stepPrivacy(0.01, 2.5, order)) / wanted).toBeCloseTo(1, 4);
  });

  // dp_accounting only ever adds terms, which makes an upper bound; the exact values are of a quadrature with 30 digits.
  test.each([
    [1.5, 6.50070897e-4, 6.70579741e-4],
    [2.5, 1.08541806e-3, 1.0854871e-3],
  ])('dp_accounting: fifty steps at the fractional order %f', (order, exact, bound) => {
    const privacy = 50 * stepPrivacy(0.01, 2.5, order);
    expect(privacy / exact).toBeCloseTo(1, 7);
    expect(privacy).toBeLessThanOrEqual(bound);
  });

  test('dp_accounting: the same Rényi privacy at every order', () => {
    const spent = bestEpsilon(
      whole.map(() => 1.1),
      whole,
      1e-5,
    );
    expect(spent.epsilon).toBeCloseTo(1.32783806176, 10);
    expect(spent.order).toBe(32);
  });

  test('dp_accounting: the plain Gaussian mechanism', () => {
    const orders = Array.from({ length: 98_999 }, (_, i) => 1.001 + i / 1000);
    const spent = spentPrivacy([{ sampleRate: 1, noiseMultiplier: 4.530877117, steps: 1 }], 1e-6, orders);
    expect(spent.epsilon).toBeCloseTo(1, 7);
  });

  test('MNIST at batch 256, noise 1.1, 60 epochs', () => {
    const steps = Math.ceil((60 * 60_000) / 256);
    const spent = spentPrivacy([{ sampleRate: 256 / 60_000, noiseMultiplier: 1.1, steps }], 1e-5);
    expect(spent.epsilon).toBeCloseTo(2.5967, 3);
  });
});

const phase = fc.record({
  noiseMultiplier: fc.double({ min: 0.5, max: 8, noNaN: true }),
  sampleRate: fc.double({ min: 1e-4, max: 0.1, noNaN: true }),
  steps: fc.integer({ min: 1, max: 2000 }),
}) satisfies fc.Arbitrary<PrivacyPhase>;

describe('whatever the run', () => {
  test('more steps, more rows in a batch, or less noise never spend less', () => {
    fc.assert(
      fc.property(phase, fc.double({ min: 1.01, max: 1.8, noNaN: true }), (one, factor) => {
        const { epsilon } = spentPrivacy([one], 1e-5);
        const tolerance = 1e-9 * epsilon;
        const more = (change: Partial<PrivacyPhase>) => spentPrivacy([{ ...one, ...change }], 1e-5).epsilon + tolerance;
        expect(more({ steps: one.steps + 1 })).toBeGreaterThanOrEqual(epsilon);
        expect(more({ sampleRate: one.sampleRate * factor })).toBeGreaterThanOrEqual(epsilon);
        expect(more({ noiseMultiplier: one.noiseMultiplier / factor })).toBeGreaterThanOrEqual(epsilon);
      }),
      { numRuns: 30 },
    );
  });

  test('a run that was cut and resumed has spent what an undisturbed one has', () => {
    fc.assert(
      fc.property(phase, fc.integer({ min: 0, max: 5000 }), (one, at) => {
        const cut = Math.min(at, one.steps);
        const resumed = withSteps([{ ...one, steps: cut }], { ...one, steps: one.steps - cut });
        expect(resumed).toEqual([one]);
      }),
    );
  });

  test('phases that differ are kept apart, and both are counted', () => {
    const first = { noiseMultiplier: 1, sampleRate: 0.01, steps: 10 };
    const second = { ...first, noiseMultiplier: 2 };
    const both = withSteps([first], second);
    expect(both).toEqual([first, second]);
    expect(spentPrivacy(both, 1e-5).epsilon).toBeGreaterThan(spentPrivacy([first], 1e-5).epsilon);
  });

  test('the noise found keeps to its target, and is not more than needed', () => {
    fc.assert(
      fc.property(phase, fc.double({ min: 0.5, max: 20, noNaN: true }), ({ sampleRate, steps }, epsilon) => {
        const noiseMultiplier = noiseFor({ epsilon, delta: 1e-5, sampleRate, steps });
        const spent = spentPrivacy([{ noiseMultiplier, sampleRate, steps }], 1e-5).epsilon;
        expect(spent).toBeLessThanOrEqual(epsilon);
        expect(spent).toBeGreaterThan(epsilon - 0.011);
      }),
      { numRuns: 8 },
    );
  });

  test('the steps that remain are the last that fit', () => {
    fc.assert(
      fc.property(phase, fc.double({ min: 0.2, max: 8, noNaN: true }), (one, epsilon) => {
        const budget = { epsilon, delta: 1e-5 };
        const steps = stepsWithin([], one, budget, 5000);
        const spent = (count: number) => spentPrivacy([{ ...one, steps: count }], 1e-5).epsilon;
        expect(spent(steps)).toBeLessThanOrEqual(epsilon);
        if (steps < 5000) expect(spent(steps + 1)).toBeGreaterThan(epsilon);
      }),
      { numRuns: 12 },
    );
  });
});

test.each<[string, () => unknown, string]>([
  ['no rows sampled', () => stepPrivacy(0, 1, 2), 'sample rate 0, wanted above 0, at most 1'],
  ['more than all', () => stepPrivacy(1.1, 1, 2), 'sample rate 1.1, wanted above 0, at most 1'],
  ['no noise', () => stepPrivacy(0.1, 0, 2), 'noise multiplier 0, wanted above 0'],
  ['order one', () => stepPrivacy(0.1, 1, 1), 'order 1, wanted above 1'],
  ['delta zero', () => bestEpsilon([1], [2], 0), 'delta 0, wanted between 0 and 1'],
  [
    'out of reach',
    () => noiseFor({ epsilon: 1e-9, delta: 1e-5, sampleRate: 0.05, steps: 1e9 }),
    'no noise multiplier up to 1000 keeps 1000000000 steps within epsilon 1e-9',
  ],
])('refuses %s', (_, call, message) => {
  expect(call).toThrow(new RangeError(message));
});

test('nothing done has spent nothing', () => {
  expect(spentPrivacy([], 1e-5).epsilon).toBe(0);
  expect(spentPrivacy([{ noiseMultiplier: 1, sampleRate: 0.1, steps: 0 }], 1e-5).epsilon).toBe(0);
});

// Abramowitz and Stegun tables 6.1 and 7.1; the others by the C library.
test.each([
  [1, 0],
  [0.5, 0.5723649429247001],
  [5, 3.1780538303479458],
  [100.5, 361.4355404677776],
])('logGamma(%f)', (x, wanted) => expect(logGamma(x)).toBeCloseTo(wanted, 9));

test.each([
  [0, 0],
  [1, -1.8496055099332485],
  [-1, 0.6112323176780705],
  [3, -10.720363041981113],
  [10, -102.8798890248403],
  [-5, 0.6931471805591761],
])('logErfc(%f)', (x, wanted) => expect(logErfc(x)).toBeCloseTo(wanted, 9));
