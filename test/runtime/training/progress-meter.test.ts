import { expect, test } from 'vitest';
import { progressMeter } from '../../../runtime/training/progress-meter.ts';

test('is due five times a second, and counts rows since the last reading without pauses', () => {
  let now = 0;
  const meter = progressMeter(() => now);
  meter.add(100);
  now = 199;
  expect(meter.due()).toBe(false);
  now = 200;
  expect(meter.due()).toBe(true);
  expect(meter.read()).toBe(500);
  expect(meter.due()).toBe(false);
  meter.add(100);
  meter.pause();
  now = 1200;
  meter.resume();
  expect(meter.due()).toBe(false);
  now = 1400;
  expect(meter.read()).toBe(500);
});
