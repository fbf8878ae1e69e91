import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Row } from '../../../runtime/alerts/condition.ts';
import { type AlertRule, evaluateAlert } from '../../../runtime/alerts/rule.ts';
import { alertHistory } from '../../../scripts/run/alert-history.ts';

const RULE: AlertRule = {
  name: 'refused',
  title: 'Somebody was refused',
  severity: 1,
  table: 'AZKVAuditLogs',
  where: { column: 'HttpStatusCode', atLeast: 400 },
  measure: { kind: 'count', above: 1 },
  windowMinutes: 30,
  everyMinutes: 5,
  dimensions: { Caller: 'Caller' },
};
const at = (minute: number) => new Date(Date.UTC(2026, 10, 24, 12, minute));
const row = (minute: number, Caller = 'a', HttpStatusCode = 403): Row => ({
  TimeGenerated: at(minute).toISOString(),
  Caller,
  HttpStatusCode,
});
const history = (rows: readonly Row[], from: number, to: number) => alertHistory([RULE], () => rows, at(from), at(to));

test('an alert fires from the look that first has enough rows, and as long as its window holds them', () => {
  const [alert, ...more] = history([row(1), row(2), row(3, 'a', 200)], -60, 60);
  expect(more).toEqual([]);
  expect(alert).toMatchObject({ firedAt: at(5), isFiring: false, value: 2, from: at(1), to: at(2) });
});

test('what fires at the end is firing', () => {
  expect(history([row(1), row(2)], -60, 20)).toMatchObject([{ firedAt: at(5), isFiring: true }]);
});

test('a row that has not come yet does not count', () => {
  expect(history([row(1), row(50)], 0, 45)).toEqual([]);
});

test('with a pause between them there are two alerts, and each caller has its own', () => {
  const rows = [row(1), row(2), row(51), row(52), row(3, 'b'), row(4, 'b')];
  expect(history(rows, 0, 90).map(({ dimensions, firedAt }) => [dimensions.Caller, firedAt])).toEqual([
    ['a', at(5)],
    ['b', at(5)],
    ['a', at(55)],
  ]);
});

test('a look at one time alone is the evaluation at that time, whatever the rows', () => {
  const rows = fc.array(
    fc.tuple(fc.integer({ min: -90, max: 30 }), fc.constantFrom('a', 'b'), fc.constantFrom(200, 403)),
  );
  fc.assert(
    fc.property(rows, (all) => {
      const known = all.filter(([minute]) => minute <= 0).map((each) => row(...each));
      const alerts = alertHistory([RULE], () => all.map((each) => row(...each)), at(0), at(0));
      expect(alerts.map(({ firedAt, isFiring, ...alert }) => alert)).toEqual(evaluateAlert(RULE, known, at(0)));
    }),
  );
});
